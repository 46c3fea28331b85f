"""The shapes of work that `bench_shapes.py` walks through, one file per group; `every.py` lists them."""

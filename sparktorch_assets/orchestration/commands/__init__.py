"""`make run` and `make dev`."""

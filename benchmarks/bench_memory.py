"""Do slots on one host share a model's weights? `make bench-memory`.

1, 2 and 4 processes each bring up a 500 MB model from safetensors and predict a few rows. What counts is PSS, the
proportional set size of /proc/PID/smaps_rollup (Linux): a page that n processes share counts 1/n in each. Shared weights
keep the sum flat; private copies would add 500 MB a slot. Ends with one JSON line.
"""

import json
import multiprocessing
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

MODEL_MB = 500
WIDTH = 1_024


def wide(layers: int) -> Any:
    """A stack of square layers, 4 MB each."""
    from torch import nn

    return nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(layers)), nn.Linear(WIDTH, 2))


def pss_mb() -> float:
    """This process's proportional set size."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/smaps_rollup has no Pss line")


def slot(root: str, layers: int, pipe: Connection) -> None:
    """Bring the model up, predict, and report PSS before and after when told to."""
    sys.path.insert(0, str(Path(__file__).parent))
    import pyarrow as pa

    from sparktorch_assets.predict.loader import ModelLoader
    from sparktorch_assets.predict.local import LocalPredictor
    from sparktorch_assets.predict.partition import predict_batches
    from sparktorch_assets.predict.schema import output_schema
    from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature

    columns = [f"f{f}" for f in range(WIDTH)]
    task = MlTask(
        name="wide",
        input="bench",
        model=ModelSpec(weights="wide.safetensors", architecture="bench_memory:wide", arguments={"layers": layers}),
        features=[NumericFeature(columns=columns)],
        labels=["a", "b"],
        keep_columns=[],
    )
    batch = pa.record_batch({column: pa.array([1.0] * 8) for column in columns})
    pipe.send(pss_mb())
    predictor = LocalPredictor(task, model_loader=ModelLoader(root), concurrent_slots=2)
    list(predict_batches([batch], predictor=predictor, schema=output_schema(task, batch.schema)))
    pipe.send("up")
    pipe.recv()  # all slots are up: now a shared page is shared
    pipe.send(pss_mb())
    pipe.recv()


def measure(root: str, layers: int, slots: int) -> tuple[float, float]:
    """The sum of PSS over slots before and after bringing the model up."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(slots):
        mine, theirs = context.Pipe()
        process = context.Process(target=slot, args=(root, layers, theirs))
        process.start()
        pipes.append(mine)
        processes.append(process)
    before = sum(pipe.recv() for pipe in pipes)
    for pipe in pipes:
        assert pipe.recv() == "up"
    for pipe in pipes:
        pipe.send("measure")
    after = sum(pipe.recv() for pipe in pipes)
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send("end")
        process.join()
    return before, after


def main() -> None:
    """Measure 1, 2 and 4 slots."""
    from safetensors.torch import save_file

    layers = MODEL_MB * 1_000_000 // (4 * WIDTH * WIDTH)
    results = []
    with tempfile.TemporaryDirectory() as root:
        save_file(wide(layers).state_dict(), Path(root) / "wide.safetensors")
        print(f"{'slots':>6}{'before MB':>11}{'after MB':>10}{'model MB':>10}   (sums of PSS)")
        for slots in (1, 2, 4):
            before, after = measure(root, layers, slots)
            print(f"{slots:>6}{before:>11,.0f}{after:>10,.0f}{after - before:>10,.0f}", flush=True)
            results.append({"slots": slots, "pss_before_mb": round(before), "pss_after_mb": round(after)})
    print(json.dumps({"benchmark": "memory", "model_mb": MODEL_MB, "results": results}))


if __name__ == "__main__":
    main()

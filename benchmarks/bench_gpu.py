"""How busy does the predictor keep a GPU? `make bench-gpu`; needs one GPU, no Spark and no JVM.

Two ceilings. *Model only*: the same batches, already on the device, through the network alone. *Busy share*: the share of
the wall time in which kernels run, from torch's profiler, summed over the processes that share the GPU (without MPS their
kernels take turns). Each workload runs with 1 and 2 model instances, a process each, on half the rows each.

`--device cpu` runs the same code without a GPU, to test the benchmark itself; it has no busy share. Ends with one JSON line.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

WORKLOADS = ("text", "images", "images-50")
ROUNDS = 3


def slot(workload: str, scale: float, device: str, pipe: Connection) -> None:
    """One model instance: report the model-only rate, then run whenever told to, then once under the profiler."""
    sys.path.insert(0, str(Path(__file__).parent))
    import torch
    from bench_predict import IMAGE_BATCH, TOKENS, images, task_of, texts

    from sparktorch_assets.predict.loader import ModelLoader
    from sparktorch_assets.predict.local import LocalPredictor
    from sparktorch_assets.predict.partition import predict_batches
    from sparktorch_assets.predict.schema import output_schema
    from sparktorch_assets.tasks import BatchPolicy, ImageFeature, SlotPolicy, TextFeature

    if workload == "text":
        batches = texts(int(50_000 * scale))
        policy = BatchPolicy(max_tokens=8 * TOKENS)
        task = task_of(workload, [TextFeature(column="text")], [str(c) for c in range(8)], policy)
    else:
        batches = images(int(2_000 * scale))
        policy = BatchPolicy(batch_size=4 * IMAGE_BATCH)
        feature = ImageFeature(column="image", height=224, width=224)
        task = task_of(workload, [feature], [str(c) for c in range(1000)], policy)
    predictor = LocalPredictor(task, model_loader=ModelLoader("."), slots=SlotPolicy(device=device))
    schema = output_schema(task, batches[0].schema)

    def run() -> float:
        started = time.perf_counter()
        rows = sum(b.num_rows for b in predict_batches(batches, predictor=predictor, schema=schema))
        assert rows == sum(batch.num_rows for batch in batches)
        return time.perf_counter() - started

    run()  # warm up: allocations, kernels' choice
    pipe.send((sum(batch.num_rows for batch in batches), model_only(predictor.model, batches[0])))
    while pipe.recv() == "run":
        pipe.send(run())
    pipe.send(busy_share(run) if torch.cuda.is_available() and device == "cuda" else None)


def model_only(model: Any, batch: Any) -> float:
    """Rows a second of the network alone, over batches that lie on the device."""
    import numpy as np
    import torch

    from sparktorch_assets.predict.batches.packing import PackedBatches
    from sparktorch_assets.predict.failures import Quarantine
    from sparktorch_assets.tally import Tally

    window = batch.slice(0, model.window_rows)
    encoded = model.prepare(window, Quarantine("bench"), Tally())
    lengths = next((feature.lengths_N for feature in encoded.features if feature.lengths_N is not None), None)
    packed = list(PackedBatches(np.arange(window.num_rows), lengths, model.launcher.sizer))
    resident = [
        [tensor.to(model.device) for feature in encoded.features for tensor in feature.collate(rows)] for rows in packed
    ]
    rates = []
    with torch.inference_mode():
        for _ in range(ROUNDS + 1):
            started = time.perf_counter()
            for arguments in resident:
                model.module(*arguments)
            if model.device.type == "cuda":
                torch.cuda.synchronize()
            rates.append(window.num_rows / (time.perf_counter() - started))
    return statistics.median(rates[1:])


def busy_share(run: Any) -> float:
    """The share of a run's wall time in which kernels of this process run on the GPU."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        wall_s = run()
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profiler.events()
        if event.device_type == DeviceType.CUDA
    )
    busy_us, reached = 0.0, 0.0
    for start, end in spans:  # kernels on several streams overlap: count each microsecond once
        busy_us += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return busy_us / 1e6 / wall_s


def measure(workload: str, instances: int, scale: float, device: str) -> dict[str, Any]:
    """Rows a second of all instances together, beside the model-only rate of one."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(instances):
        mine, theirs = context.Pipe()
        process = context.Process(target=slot, args=(workload, scale / instances, device, theirs))
        process.start()
        pipes.append(mine)
        processes.append(process)
    ready = [pipe.recv() for pipe in pipes]
    rows = sum(count for count, _ in ready)
    seconds = []
    for _ in range(ROUNDS):
        for pipe in pipes:
            pipe.send("run")
        seconds.append(max(pipe.recv() for pipe in pipes))
    for pipe in pipes:
        pipe.send("profile")
    shares = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    rate = rows / statistics.median(seconds)
    # Instances that were brought up together measured their model-only rate together: one alone is the ceiling.
    ceiling = ready[0][1] if instances == 1 else None
    share = None if None in shares else round(sum(shares), 3)
    return {
        "workload": workload,
        "models_per_gpu": instances,
        "rows_per_s": round(rate, 1),
        "model_only_rows_per_s": ceiling and round(ceiling, 1),
        "busy_share": share,
    }


def main() -> None:
    """Measure every workload with 1 and 2 instances."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=list(WORKLOADS))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("not measured: no GPU here")
        print(json.dumps({"benchmark": "gpu", "results": []}))
        return
    results = []
    print(f"{'workload':<12}{'models':>7}{'rows/s':>10}{'of model only':>15}{'busy share':>12}")
    for workload in options.workloads or WORKLOADS:
        ceiling = 0.0
        for instances in (1, 2):
            found = measure(workload, instances, options.scale, options.device)
            ceiling = found["model_only_rows_per_s"] or ceiling
            found |= {"model_only_rows_per_s": ceiling, "ratio_to_model_only": round(found["rows_per_s"] / ceiling, 3)}
            share = "not measured" if found["busy_share"] is None else f"{found['busy_share']:.3f}"
            print(
                f"{workload:<12}{instances:>7}{found['rows_per_s']:>10,.0f}{found['ratio_to_model_only']:>15.3f}{share:>12}",
                flush=True,
            )
            results.append(found)
    print(json.dumps({"benchmark": "gpu", "device": options.device, "results": results}))


if __name__ == "__main__":
    main()

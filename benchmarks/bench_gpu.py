"""How busy does the predictor keep a GPU? `make bench-gpu`; needs one GPU, no Spark and no JVM.

Three workloads: a network like ResNet-50 on JPEG files of 224 x 224 pixels (decoding included), all-MiniLM-L6-v2 on texts of
lognormal length (tokenizing included), and an MLP on 16 columns. Each runs in fp32, in bf16, and in bf16 compiled, with 1
and 2 model instances, a process each, on half the rows each.

Two ceilings. *Model only*: the same batches, already on the device, through the network alone. *Busy share*: the share of
the wall time in which kernels run, from torch's profiler, summed over the processes that share the GPU (without MPS their
kernels take turns). Below 0.95 of the model alone, `waits for` names the step that takes most of the time beside the
network, with its share of the wall time. *Growth* is by how many MiB the memory that torch holds on the device grew from the
first run to the last.

`--device cpu` runs the same code without a GPU, to test the benchmark itself; it has no busy share. `--scale small` takes a
hundredth of the rows. Ends with one JSON line.

Run on one H100: ResNet-50 and the MLP in fp32 and bf16, and MiniLM in fp32 (benchmarks/LOG.md). Nothing compiled has been run.
"""

import argparse
import io
import itertools
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

WORKLOADS = ("resnet50", "minilm", "mlp")
EXECUTIONS: dict[str, dict[str, str]] = {
    "fp32": {},
    "bf16": {"precision": "bf16"},
    "bf16-compiled": {"precision": "bf16", "compile": "torch.compile"},
}
ROUNDS = 3
SMALL = 0.01
GOOD = 0.95
CEILING_ROWS = 4_096
"""The network alone runs over at least so many rows at a time."""


def work_of(workload: str, scale: float) -> tuple[Any, list[Any], str]:
    """The task, its rows, and the folder of its model."""
    from bench_predict import ABCD, CHUNK_ROWS, IMAGE_BATCH, MLP_BATCH, table, task_of
    from pyarrow import table as arrow_table

    from sparktorch_assets.tasks import BatchPolicy, ImageFeature, MlTask, ModelSpec, NumericFeature, TextFeature

    if workload == "resnet50":
        feature = ImageFeature(column="image", height=224, width=224)
        policy = BatchPolicy(batch_size=4 * IMAGE_BATCH)
        return task_of("images-50", [feature], [str(c) for c in range(1000)], policy), jpegs(int(4_000 * scale)), "."
    if workload == "minilm":
        from minilm_texts import MINILM, lognormal_texts

        texts = arrow_table({"text": lognormal_texts(int(50_000 * scale))}).to_batches(max_chunksize=CHUNK_ROWS)
        task = MlTask(
            name="minilm", input="bench", model=ModelSpec(weights=MINILM.name), features=[TextFeature(column="text")]
        )
        return task, texts, str(MINILM.parent)
    feature = NumericFeature(columns=[f"f{f}" for f in range(16)])
    policy = BatchPolicy(batch_size=MLP_BATCH)
    return task_of("tabular", [feature], list(ABCD), policy), table(int(4_000_000 * scale)), "."


def jpegs(rows: int) -> list[Any]:
    """JPEG files of 224 x 224 pixels of smooth noise, which compresses about as photographs do."""
    import numpy as np
    import pyarrow as pa
    from PIL import Image

    rng = np.random.default_rng(0)
    files = []
    for _ in range(min(rows, 64)):
        small = Image.fromarray(rng.integers(0, 255, (28, 28, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        small.resize((224, 224), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    column = pa.array([files[row % len(files)] for row in range(rows)], pa.binary())
    return pa.table({"image": column}).to_batches(max_chunksize=256)


def slot(workload: str, execution: str, instances: int, scale: float, device: str, pipe: Connection) -> None:
    """One model instance: report the model-only rate, then run whenever told to, then once under the profiler."""
    sys.path.insert(0, str(Path(__file__).parent))
    import torch

    from sparktorch_assets.predict.loader import ModelLoader
    from sparktorch_assets.predict.local import LocalPredictor
    from sparktorch_assets.predict.partition import predict_batches
    from sparktorch_assets.predict.schema import output_schema
    from sparktorch_assets.tally import Tally
    from sparktorch_assets.tasks import Execution, SlotPolicy

    declared, batches, root = work_of(workload, scale / instances)
    loader = ModelLoader(root)
    task = replace(loader.find_task(declared), execution=Execution(**EXECUTIONS[execution]))  # type: ignore[arg-type]
    predictor = LocalPredictor(task, model_loader=loader, slots=SlotPolicy(device=device), concurrent_slots=instances)
    schema = output_schema(task, batches[0].schema)

    def run() -> tuple[float, dict[str, float]]:
        tally = Tally()
        started = time.perf_counter()
        rows = sum(b.num_rows for b in predict_batches(batches, predictor=predictor, schema=schema, tally=tally))
        assert rows == sum(batch.num_rows for batch in batches)
        assert tally.failed == 0
        assert set(tally.devices) == {predictor.device}
        assert predictor.device.startswith(device), predictor.device
        return time.perf_counter() - started, dict(tally.seconds)

    run()  # warm up: allocations, kernels' choice, compilation
    held = torch.cuda.memory_reserved() if device == "cuda" else 0
    pipe.send((sum(batch.num_rows for batch in batches), model_only(predictor, batches)))
    while pipe.recv() == "run":
        pipe.send(run())
    share = busy_share(run) if device == "cuda" else None
    grown = (torch.cuda.memory_reserved() - held) / 2**20 if device == "cuda" else None
    pipe.send((share, grown))


def model_only(predictor: Any, batches: list[Any]) -> float:
    """Rows a second of the network alone, over the batches of the first window, which lie on the device. Batches are as
    large as an earlier run has found to be fastest."""
    import numpy as np
    import pyarrow as pa
    import torch

    from sparktorch_assets.predict.batches.packing import PackedBatches
    from sparktorch_assets.predict.failures import Quarantine
    from sparktorch_assets.predict.model.network import _call, on_device
    from sparktorch_assets.tally import Tally

    model = predictor.for_run()
    network = model.network
    rows = pa.Table.from_batches(batches).slice(0, max(model.window_rows, CEILING_ROWS)).combine_chunks()
    window = rows.to_batches()[0].slice(0, model.window_rows)
    encoded = model.prepare(window, Quarantine("bench"), Tally())
    lengths = next((feature.lengths_N for feature in encoded.features if feature.lengths_N is not None), None)
    resident = []
    for batch in PackedBatches(np.arange(window.num_rows), lengths, model.launcher.sizer):
        longest = 0 if lengths is None else int(lengths[batch].max())
        tensors = network._collate(encoded.features, batch, longest)  # noqa: SLF001  (as a run does it)
        there = on_device(encoded.features, [tensor.to(model.device) for tensor in tensors])
        resident.append(network._cast(there))  # noqa: SLF001
    names = network._argument_names(encoded.features)  # noqa: SLF001
    rates = []
    with torch.inference_mode():
        for _ in range(ROUNDS + 1):
            passes = max(1, CEILING_ROWS // window.num_rows)
            started = time.perf_counter()
            for _ in range(passes):
                for arguments in resident:
                    _call(model.module, arguments, names)
            if model.device.type == "cuda":
                torch.cuda.synchronize()
            rates.append(passes * window.num_rows / (time.perf_counter() - started))
    return statistics.median(rates[1:])


def busy_share(run: Callable[[], tuple[float, Any]]) -> float:
    """The share of a run's wall time in which kernels of this process run on the GPU."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        wall_s, _ = run()
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


def measure(workload: str, execution: str, instances: int, scale: float, device: str) -> dict[str, Any]:
    """Rows a second of all instances together, beside the model-only rate of one."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(instances):
        mine, theirs = context.Pipe()
        process = context.Process(target=slot, args=(workload, execution, instances, scale, device, theirs))
        process.start()
        theirs.close()  # a process that dies is noticed then
        pipes.append(mine)
        processes.append(process)
    ready = [pipe.recv() for pipe in pipes]
    rows = sum(count for count, _ in ready)
    seconds, spent = [], []
    for _ in range(ROUNDS):
        for pipe in pipes:
            pipe.send("run")
        found = [pipe.recv() for pipe in pipes]
        seconds.append(max(wall_s for wall_s, _ in found))
        spent.append({stage: found[0][1][stage] / found[0][0] for stage in found[0][1]})
    for pipe in pipes:
        pipe.send("profile")
    ends = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    rate = rows / statistics.median(seconds)
    # Instances that were brought up together measured their model-only rate together: one alone is the ceiling.
    ceiling = ready[0][1] if instances == 1 else None
    return {
        "workload": workload,
        "execution": execution,
        "models_per_gpu": instances,
        "rows_per_s": round(rate, 1),
        "model_only_rows_per_s": ceiling and round(ceiling, 1),
        "busy_share": None if device == "cpu" else round(sum(share for share, _ in ends), 3),
        "memory_growth_mib": None if device == "cpu" else round(max(grown for _, grown in ends), 1),
        "shares_of_wall": {stage: round(share, 3) for stage, share in spent[-1].items()},
    }


def bottleneck(shares: Mapping[str, float], ratio: float) -> str:
    """The step beside the network that takes most of a slot's time; empty if the network is near its ceiling."""
    others = {stage: share for stage, share in shares.items() if stage != "forward"}
    if ratio >= GOOD or not others:
        return ""
    stage = max(others, key=others.__getitem__)
    return f"{stage} ({others[stage]:.0%})"


def main() -> None:
    """Measure every workload in each precision with 1 and 2 instances."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "workloads", nargs="*", metavar="workload", help=f"some of {', '.join(WORKLOADS)}; all by default"
    )
    parser.add_argument("--scale", type=lambda text: SMALL if text == "small" else float(text), default=1.0)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--executions", nargs="*", default=list(EXECUTIONS), choices=list(EXECUTIONS))
    parser.add_argument(
        "--models", nargs="*", type=int, default=[1, 2], help="numbers of models per GPU; 1 comes first"
    )
    options = parser.parse_args()
    unknown = set(options.workloads) - set(WORKLOADS)
    if unknown:
        parser.error(f"there is no workload {', '.join(sorted(unknown))}; choose from {', '.join(WORKLOADS)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        print("not measured: no GPU here")
        print(json.dumps({"benchmark": "gpu", "results": []}))
        return
    name = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    results = []
    print(f"{name}, torch {torch.__version__}")
    heads = f"{'rows/s':>10}{'of model only':>15}{'busy share':>14}{'growth':>14}"
    print(f"{'workload':<10}{'execution':<15}{'models':>7}{heads}  waits for")
    for workload, execution in itertools.product(options.workloads or WORKLOADS, options.executions):
        ceiling = 0.0
        for instances in options.models:
            found = measure(workload, execution, instances, options.scale, options.device)
            ceiling = found["model_only_rows_per_s"] or ceiling
            ratio = round(found["rows_per_s"] / ceiling, 3)
            waits = bottleneck(found["shares_of_wall"], ratio)
            found |= {"model_only_rows_per_s": ceiling, "ratio_to_model_only": ratio, "waits_for": waits}
            share, grown = ("not measured" if found[key] is None else f"{found[key]:.3f}" for key in ("busy_share", "memory_growth_mib"))  # fmt: skip
            print(
                f"{workload:<10}{execution:<15}{instances:>7}{found['rows_per_s']:>10,.0f}{ratio:>15.3f}{share:>14}{grown:>14}  {waits}",
                flush=True,
            )
            results.append(found)
    print(json.dumps({"benchmark": "gpu", "device": name, "torch": torch.__version__, "results": results}))


if __name__ == "__main__":
    main()

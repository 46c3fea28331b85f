"""How near the predictor comes to a bare torch loop: `make bench-predict`.

Cost regimes: for the MLP, moving rows costs as much as the network, so the predictor's own bookkeeping shows; for the
encoder, padding decides, so packing shows; for images, decoding and convolutions share the cores, so overlap shows; a
rows-only model pays for dicts, and poisoned rows for bisecting.

Each row pairs the predictor with its ceiling, in turn, `--rounds` times after one warm-up; medians and their ratio are
printed, then one JSON line. Without Spark or a JVM, so that it runs on a bare GPU machine too; `--with-spark` adds what
the usual ways on Spark take for the text workload, once each (they take minutes).
"""

import argparse
import io
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from networks import BUILDERS, build
from PIL import Image

from sparktorch_assets.predict.batches.packing import PackedBatches
from sparktorch_assets.predict.batches.sizer import BatchSizer
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.local import LocalPredictor
from sparktorch_assets.predict.partition import predict_batches
from sparktorch_assets.predict.schema import output_schema
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import BatchPolicy, ImageFeature, MlTask, ModelSpec, NumericFeature, TextFeature
from sparktorch_assets.tasks.features import Feature

CHUNK_ROWS = 65_536
TOKENS = 8_192
WINDOW = 8_192
IMAGE_BATCH = 32
MLP_BATCH = 8_192
ROWS_BATCH = 1_024
ABCD = ("a", "b", "c", "d")
WORKLOADS = ("text", "images", "tabular", "rows_only", "poison")


def task_of(workload: str, features: list[Feature], labels: list[str], batch: BatchPolicy) -> MlTask:
    """The workload's task; its network comes from networks.py."""
    return MlTask(
        name=workload.replace("-", "_"),
        input="bench",
        model=ModelSpec(factory="networks:build", arguments={"workload": workload}),
        features=features,
        labels=labels,
        batch=batch,
        max_failed_share=1.0,
    )


def predict(task: MlTask, batches: list[pa.RecordBatch]) -> Tally:
    """Run the predictor over the batches and throw the results away."""
    predictor = LocalPredictor(task, model_loader=ModelLoader("."))
    tally = Tally()
    for _ in predict_batches(batches, predictor=predictor, schema=output_schema(task, batches[0].schema), tally=tally):
        pass
    assert tally.balanced
    return tally


def assemble(batch: pa.RecordBatch, labels: pa.Array, index: torch.Tensor, confidence: torch.Tensor) -> pa.RecordBatch:
    """What every bare loop must also do: hand out the columns that a table needs."""
    added = [labels.take(pa.array(index.numpy())), pa.array(confidence.numpy()), pa.nulls(batch.num_rows, pa.string())]
    names = [*batch.schema.names, "predicted_class", "confidence", "prediction_error"]
    return pa.RecordBatch.from_arrays([*batch.columns, *added], names=names)


def answers(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Class index and confidence on the host."""
    confidence, index = torch.softmax(logits.float(), dim=1).max(dim=1)
    return index.cpu(), confidence.cpu()


def texts(rows: int) -> list[pa.RecordBatch]:
    """Lower-case texts with lognormal lengths: mean about 37, at most 256."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(3.3, 0.75, rows), 1, 256).astype(int)
    letters = rng.integers(97, 123, int(lengths.sum()), dtype=np.uint8).tobytes().decode()
    ends = np.cumsum(lengths)
    column = [letters[end - length : end] for end, length in zip(ends, lengths, strict=True)]
    return pa.table({"text": column}).to_batches(max_chunksize=CHUNK_ROWS)


def bare_text(module: torch.nn.Module, batches: list[pa.RecordBatch], device: torch.device) -> None:
    """Length-packed batches under the same token budget, ids made by numpy."""
    labels = pa.array([str(c) for c in range(8)])
    sizer = BatchSizer(BatchPolicy(max_tokens=TOKENS), has_lengths=True)
    for batch in batches:
        for start in range(0, batch.num_rows, WINDOW):
            window = batch.slice(start, WINDOW)
            ids = [np.frombuffer(text.encode(), dtype=np.uint8) + np.int64(1) for text in window.column(0).to_pylist()]
            lengths = np.array([len(row) for row in ids])
            index, confidence = torch.empty(len(ids), dtype=torch.int64), torch.empty(len(ids))
            for rows in PackedBatches(np.arange(len(ids)), lengths, sizer):
                padded = torch.zeros(len(rows), int(lengths[rows].max()), dtype=torch.int64)
                for i, row in enumerate(rows):
                    padded[i, : lengths[row]] = torch.from_numpy(ids[row])
                padded = padded.to(device)
                index[rows], confidence[rows] = answers(module(padded, padded > 0))
            assemble(window, labels, index, confidence)


def images(rows: int) -> list[pa.RecordBatch]:
    """JPEG and PNG files of 224x224 smooth noise (it compresses about as photographs do)."""
    rng = np.random.default_rng(0)
    files = []
    for row in range(min(rows, 64)):
        small = Image.fromarray(rng.integers(0, 255, (28, 28, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        small.resize((224, 224), Image.Resampling.BICUBIC).save(buffer, "JPEG" if row % 2 else "PNG", quality=90)
        files.append(buffer.getvalue())
    column = pa.array([files[row % len(files)] for row in range(rows)], pa.binary())
    return pa.table({"image": column}).to_batches(max_chunksize=256)


def bare_images(module: torch.nn.Module, batches: list[pa.RecordBatch], device: torch.device) -> None:
    """Decode a batch in threads while the one before is in the network."""
    labels = pa.array([str(c) for c in range(1000)])

    def decode(file: bytes) -> torch.Tensor:
        with Image.open(io.BytesIO(file)) as image:
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float().div_(255)

    def parts() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for start in range(0, batch.num_rows, IMAGE_BATCH):
                yield batch.slice(start, IMAGE_BATCH)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool, ThreadPoolExecutor(1) as front:

        def encode(part: pa.RecordBatch) -> torch.Tensor:
            return torch.stack(list(pool.map(decode, part.column(0).to_pylist())))

        waiting: Any = None
        for part in [*parts(), None]:
            following = None if part is None else (part, front.submit(encode, part))
            if waiting is not None:
                before, encoded = waiting
                assemble(before, labels, *answers(module(encoded.result().to(device))))
            waiting = following


def table(rows: int) -> list[pa.RecordBatch]:
    """16 float32 columns and a string id."""
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {"id": [f"row-{row:09d}" for row in range(rows)]}
    columns |= {f"f{f}": rng.standard_normal(rows, dtype=np.float32) for f in range(16)}
    return pa.table(columns).to_batches(max_chunksize=CHUNK_ROWS)


def bare_table(module: torch.nn.Module, batches: list[pa.RecordBatch], device: torch.device) -> None:
    """Columns into one tensor, batches of slices of it."""
    labels = pa.array(ABCD)
    for batch in batches:
        x = np.stack([batch.column(f"f{f}").to_numpy() for f in range(16)])
        rows = torch.from_numpy(x).T.contiguous()
        found = [
            answers(module(rows[start : start + MLP_BATCH].to(device))) for start in range(0, len(rows), MLP_BATCH)
        ]
        assemble(batch, labels, torch.cat([index for index, _ in found]), torch.cat([c for _, c in found]))


def bare_rows(model: Any, batches: list[pa.RecordBatch], _device: torch.device) -> None:
    """Dicts in, dicts out, columns again: what a user of such a model would write."""
    for batch in batches:
        for start in range(0, batch.num_rows, ROWS_BATCH):
            rows = list(model.predict(batch.slice(start, ROWS_BATCH).to_pylist()))
            pa.RecordBatch.from_pylist(rows)


def poisoned(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """One row in a thousand makes its batch raise."""
    result = []
    for batch in batches:
        f0 = batch.column("f0").to_numpy().copy()
        f0[500::1000] = 1e9
        result.append(batch.set_column(batch.schema.get_field_index("f0"), "f0", pa.array(f0)))
    return result


def run(name: str, scale: float, device: torch.device) -> tuple[int, Callable[[], Any], Callable[[], Any], str]:
    """A workload: its rows, the ceiling, the predictor, and what the ceiling is."""
    floats: list[Feature] = [NumericFeature(columns=[f"f{f}" for f in range(16)])]
    module: Any = build(None, device, name)
    module = module.to(device) if isinstance(module, torch.nn.Module) else module
    if name == "text":
        batches = texts(int(50_000 * scale))
        task = task_of(name, [TextFeature(column="text")], [str(c) for c in range(8)], BatchPolicy(max_tokens=TOKENS))
        ceiling, what = (lambda: bare_text(module, batches, device)), "bare loop, same packing"
    elif name.startswith("images"):
        batches = images(int(2_000 * scale))
        feature = ImageFeature(column="image", height=224, width=224)
        task = task_of(name, [feature], [str(c) for c in range(1000)], BatchPolicy(batch_size=IMAGE_BATCH))
        ceiling, what = (lambda: bare_images(module, batches, device)), "bare loop, same threads"
    elif name == "tabular":
        batches = table(int(4_000_000 * scale))
        task = task_of(name, floats, list(ABCD), BatchPolicy(batch_size=MLP_BATCH))
        ceiling, what = (lambda: bare_table(module, batches, device)), "bare loop"
    elif name == "rows_only":
        batches = table(int(200_000 * scale))
        task = task_of(name, [], list(ABCD), BatchPolicy(batch_size=ROWS_BATCH))
        ceiling, what = (lambda: bare_rows(module, batches, device)), "its own bare loop"
    else:
        clean = table(int(200_000 * scale))
        batches = poisoned(clean)
        features = [] if name == "poison_rows" else floats
        task, free = (task_of(of, features, list(ABCD), BatchPolicy()) for of in (name, f"{name}_free"))
        ceiling, what = (lambda: predict(free, clean)), "the same without poison"  # and a batch size of its own
    return sum(batch.num_rows for batch in batches), ceiling, (lambda: predict(task, batches)), what


def seconds(work: Callable[[], Any]) -> float:
    """Wall seconds of one run, with the device's work done."""
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def on_spark(rows: int) -> Iterator[tuple[str, float]]:
    """Seconds of the usual ways, on as many cores, after a warm-up on few rows."""
    import tempfile

    import pyarrow.parquet as pq
    from text_on_spark import map_in_arrow, predict_batch_udf

    from sparktorch_assets.spark.ml_predict import spark_ml_predict
    from sparktorch_assets.spark.session.start import start_session

    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        table = pa.Table.from_batches(texts(rows))
        for part in range(4 * cores):
            pq.write_table(table.slice(part * rows // (4 * cores), rows // (4 * cores)), f"{folder}/{part:02}.parquet")
        spark = start_session(master=f"local[{cores}]", config={})
        frame = spark.read.parquet(folder)
        features: list[Feature] = [TextFeature(column="text")]
        task = task_of("text", features, [str(c) for c in range(8)], BatchPolicy(max_tokens=TOKENS))

        def ours(frame: Any) -> None:
            found = spark_ml_predict(spark, frame, task, model_loader=ModelLoader(".", device="cpu"))
            found.write.format("noop").mode("overwrite").save()

        for name, way in (
            ("spark_ml_predict", ours),
            ("map_in_arrow", map_in_arrow),
            ("predict_batch_udf", predict_batch_udf),
        ):
            way(frame.limit(64))
            yield name, seconds(lambda way=way: way(frame))
        spark.stop()


def main() -> None:
    """Measure, print a table, end with one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", help=f"of {' '.join(BUILDERS)}; {' '.join(WORKLOADS)} if none is named")
    parser.add_argument("--scale", type=float, default=1.0, help="a factor on every workload's rows")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--with-spark", action="store_true", help="also the text workload by map_in_arrow and its like")
    options = parser.parse_args()
    names = options.workloads or WORKLOADS
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    where = torch.cuda.get_device_name() if gpu else f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    print(
        f"{platform.machine()}, {where}, torch {torch.__version__}, pyarrow {pa.__version__}, scale {options.scale:g}\n"
    )
    print(f"{'workload':<12}{'rows':>10}{'ceiling s':>11}{'ours s':>9}{'ratio':>8}{'rows/s':>10}  ceiling is")
    results = []
    for name in names:
        rows, ceiling, ours, what = run(name, options.scale, device)
        with torch.inference_mode():
            pairs = [(seconds(ceiling), seconds(ours)) for _ in range(options.rounds + 1)][1:]
        ceiling_s, ours_s = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = statistics.median(mine / best for best, mine in pairs)
        print(
            f"{name:<12}{rows:>10,}{ceiling_s:>11.3f}{ours_s:>9.3f}{ratio:>8.3f}{rows / ours_s:>10,.0f}  {what}",
            flush=True,
        )
        results += [
            {"workload": name, "name": "ceiling", "median_s": round(ceiling_s, 4), "ratio_to_ceiling": 1.0},
            {"workload": name, "name": "ours", "median_s": round(ours_s, 4), "ratio_to_ceiling": round(ratio, 4)},
        ]
        if name == "text" and options.with_spark:
            for way, spark_s in on_spark(int(50_000 * options.scale)):
                print(f"{'  ' + way:<22}{ceiling_s:>11.3f}{spark_s:>9.3f}{spark_s / ceiling_s:>8.3f}", flush=True)
                results.append(
                    {
                        "workload": name,
                        "name": way,
                        "median_s": round(spark_s, 4),
                        "ratio_to_ceiling": round(spark_s / ceiling_s, 4),
                    }
                )
    if not gpu:
        print("\nGPU busy share, 1 and 2 models per GPU: not measured (no GPU here)")
    print(json.dumps({"benchmark": "predict", "results": results}))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()

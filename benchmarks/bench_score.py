"""How far is score_table from the best bare loop, and from the usual ways to predict with Spark?

Cost regimes: a small network over a wide table is bound by moving columns, not by arithmetic. The floor is the best
pyarrow + torch loop that we can write, as many threads as there are slots, with the encodings that score_table chooses.

Rows x (16 floats + string id) in 16 Parquet files, MLP 16-64-64-4, all columns kept. Every way runs once to warm up, then
`--repeats` times, each into an empty folder; medians are shown. Run: `python benchmarks/bench_score.py --rows 4000000`.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from networks import build

from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.spark.session.start import start_session
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature, SlotPolicy

FEATURES = [f"f{number}" for number in range(16)]
LABELS = ["a", "b", "c", "d"]
FILES = 16
BATCH_ROWS = 8192
TASK = MlTask(
    name="bench",
    input="source",
    model=ModelSpec(factory="networks:build", arguments={"workload": "tabular"}),
    features=[NumericFeature(columns=FEATURES)],
    labels=LABELS,
)


def make_source(folder: Path, rows: int) -> None:
    """Random floats and ids, one row group a file."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    each = rows // FILES
    for number in range(FILES):
        columns: dict[str, Any] = {"id": [f"row-{number * each + row:012}" for row in range(each)]}
        columns |= {name: generator.random(each, dtype=np.float32) for name in FEATURES}
        pq.write_table(pa.table(columns), folder / f"{number:02}.parquet", use_dictionary=False)


def floor(source: Path, target: Path, slots: int) -> None:
    """Read, stack, forward, softmax, write: a file at a time in each thread."""
    import torch

    torch.set_num_threads(1)
    model = build(None, torch.device("cpu"), "tabular")
    labels = pa.array(LABELS)

    def one(path: Path) -> None:
        table = pq.read_table(path, use_threads=False, memory_map=True)
        x_BF = np.stack([table[name].to_numpy() for name in FEATURES], axis=1)
        confidence, index = [], []
        with torch.inference_mode():
            for start in range(0, len(x_BF), BATCH_ROWS):
                shares = model(torch.from_numpy(x_BF[start : start + BATCH_ROWS])).softmax(1)
                best = shares.max(1)
                confidence.append(best.values.numpy())
                index.append(best.indices.numpy())
        table = table.append_column("predicted_class", labels.take(pa.array(np.concatenate(index))))
        table = table.append_column("confidence", pa.array(np.concatenate(confidence)))
        table = table.append_column("prediction_error", pa.nulls(len(table), pa.string()))
        pq.write_table(table, target / path.name, use_dictionary=["predicted_class", "prediction_error"])

    with ThreadPoolExecutor(slots) as pool:
        list(pool.map(one, sorted(source.glob("*.parquet"))))


def map_in_arrow(spark: Any, source: Path, target: Path) -> None:
    """What one writes by hand: columns through the JVM, a model a partition."""

    def predict(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import torch

        torch.set_num_threads(1)
        model = build(None, torch.device("cpu"), "tabular")
        labels = pa.array(LABELS)
        for batch in batches:
            x_BF = np.stack([batch[name].to_numpy() for name in FEATURES], axis=1)
            with torch.inference_mode():
                best = model(torch.from_numpy(x_BF)).softmax(1).max(1)
            yield pa.RecordBatch.from_arrays(
                [*batch.columns, labels.take(pa.array(best.indices.numpy())), pa.array(best.values.numpy())],
                names=[*batch.schema.names, "predicted_class", "confidence"],
            )

    frame = spark.read.parquet(str(source))
    schema = f"{', '.join(f'{name} {kind}' for name, kind in frame.dtypes)}, predicted_class string, confidence float"
    frame.mapInArrow(predict, schema).write.mode("overwrite").parquet(str(target))


def predict_batch_udf(spark: Any, source: Path, target: Path) -> None:
    """Spark's own way."""
    from pyspark.ml.functions import predict_batch_udf as make
    from pyspark.sql.functions import array, col
    from pyspark.sql.types import FloatType, StringType, StructField, StructType

    def make_predict() -> Callable[[Any], Any]:
        import torch

        torch.set_num_threads(1)
        model = build(None, torch.device("cpu"), "tabular")

        def predict(x_BF: Any) -> Any:
            with torch.inference_mode():
                best = model(torch.from_numpy(x_BF)).softmax(1).max(1)
            return {"predicted_class": np.array(LABELS)[best.indices.numpy()], "confidence": best.values.numpy()}

        return predict

    kind = StructType([StructField("predicted_class", StringType()), StructField("confidence", FloatType())])
    udf = make(make_predict, return_type=kind, batch_size=BATCH_ROWS, input_tensor_shapes=[[16]])
    frame = spark.read.parquet(str(source)).withColumn("p", udf(array(*FEATURES)))
    frame.select("*", col("p.*")).drop("p").write.mode("overwrite").parquet(str(target))


def row_rdd(spark: Any, source: Path, target: Path) -> None:
    """Row by row through an RDD, batches of 1,024."""

    def predict(rows: Iterator[Any]) -> Iterator[Any]:
        import itertools

        import torch

        torch.set_num_threads(1)
        model = build(None, torch.device("cpu"), "tabular")
        while part := [row.asDict() for row in itertools.islice(rows, 1024)]:
            with torch.inference_mode():
                best = model(torch.tensor([[row[name] for name in FEATURES] for row in part])).softmax(1).max(1)
            for row, index, confidence in zip(part, best.indices.tolist(), best.values.tolist(), strict=True):
                yield (*row.values(), LABELS[index], confidence)

    frame = spark.read.parquet(str(source))
    schema = f"{', '.join(f'{name} {kind}' for name, kind in frame.dtypes)}, predicted_class string, confidence float"
    spark.createDataFrame(frame.rdd.mapPartitions(predict), schema).write.mode("overwrite").parquet(str(target))


def ml_predict(spark: Any, source: Path, target: Path, slots: int, loader: ModelLoader) -> None:
    """Our own lazy verb, written by Spark."""
    from sparktorch_assets.spark.ml_predict import spark_ml_predict

    frame = spark.read.parquet(str(source))
    predicted = spark_ml_predict(
        spark, frame, TASK, batch_size=BATCH_ROWS, model_loader=loader, slots=SlotPolicy(slots=slots, device="cpu")
    )
    predicted.write.mode("overwrite").parquet(str(target))


def warm(spark: Any, slots: int) -> None:
    """Have Python workers up with torch loaded: Spark ends those that idled for a minute, as they do beside a slow way."""

    def load(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import torch

        torch.set_num_threads(1)
        time.sleep(0.2)  # long enough that no worker serves two tasks
        yield from batches

    spark.range(0, slots, 1, slots).mapInArrow(load, "id long").collect()


def main() -> None:
    """Parse, run, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[4_000_000])
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    names = ["floor", "score_table", "spark_ml_predict", "map_in_arrow", "predict_batch_udf", "row_rdd"]
    parser.add_argument("--names", nargs="+", choices=names, default=names)
    options = parser.parse_args()
    # Workers find networks.py where this file lies.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    spark = start_session(master=f"local[{options.slots}]", config={"spark.driver.memory": "4g"})
    results = []
    for rows in options.rows:
        root = Path(tempfile.mkdtemp(prefix="bench-score-"))
        make_source(root / "source", rows)
        results += measure(spark, root, rows, options)
        shutil.rmtree(root)
    spark.stop()
    print(json.dumps({"benchmark": "score", "results": results}))


def measure(spark: Any, root: Path, rows: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Median seconds of each way."""
    loader = ModelLoader(root, device="cpu")
    source, target, slots = root / "source", root / "target", options.slots
    last_report: list[Any] = []

    def score() -> None:
        report = score_table(
            spark,
            str(source),
            TASK,
            output_table=str(target),
            model_loader=loader,
            batch_size=BATCH_ROWS,
            slots=SlotPolicy(slots=slots, device="cpu"),
        )
        last_report[:] = [report]

    ways: dict[str, Callable[[], None]] = {
        "floor": lambda: floor(source, target, slots),
        "score_table": score,
        "spark_ml_predict": lambda: ml_predict(spark, source, target, slots, loader),
        "map_in_arrow": lambda: map_in_arrow(spark, source, target),
        "predict_batch_udf": lambda: predict_batch_udf(spark, source, target),
        "row_rdd": lambda: row_rdd(spark, source, target),
    }
    seconds: dict[str, list[float]] = {name: [] for name in options.names}
    for _ in range(options.repeats + 1):  # in turn, so that a busy minute of the machine falls on all of them
        for name in options.names:
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            warm(spark, slots)
            start = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - start)
    results: list[dict[str, Any]] = []
    for name, measured in seconds.items():
        median = statistics.median(measured[1:])
        base = seconds.get("floor", measured)[1:]
        ratio = statistics.median(mine / floors for mine, floors in zip(measured[1:], base, strict=True))
        results.append({"rows": rows, "name": name, "median_s": round(median, 3), "ratio_to_floor": round(ratio, 3)})
        print(f"{rows:>12,} rows  {name:<18} {median:8.2f} s  {ratio:6.2f} x floor  {rows / median:>12,.0f} rows/s")
    if last_report:
        report = last_report[0]
        phases = {phase: round(value, 2) for phase, value in (report.seconds | report.tally.seconds).items()}
        print(f"              score_table's phases, summed over slots: {phases}, balance {report.balance:.2f}")
    return results


if __name__ == "__main__":
    main()

"""spark_ml_predict: lazy, typed, and row by row the same as predict_map and a plain torch loop."""

import datetime as dt
import decimal
import os
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from deltalake import DeltaTable
from pyspark import SparkFiles
from pyspark.sql import functions as F  # noqa: N812  (its usual name)

from sparktorch_assets.errors import InputSchemaError, ModelError, TaskError, UnknownTaskError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.spark.ml_predict import PredictPartition, spark_ml_predict
from sparktorch_assets.spark.score.dataframe import score_dataframe
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.tasks import (
    ClassificationOutput,
    Hooks,
    MlTask,
    ModelSpec,
    NumericFeature,
    RowFilter,
    SlotPolicy,
)

SLOTS = SlotPolicy(device="cpu")


def make_task(network="Echo", labels=("0", "1"), arguments=None, **changes):
    spec = ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": network, **(arguments or {})})
    return MlTask(
        name="echo", input="table", model=spec, features=[NumericFeature(columns=["x"])], labels=labels, **changes
    )


@pytest.fixture
def rows(spark):
    """`rows(n)`: `id` and `x`, which is negative for odd ids, in 3 partitions."""

    def make(count, partitions=3):
        return spark.range(0, count, 1, partitions).withColumn(
            "x", F.when(F.col("id") % 2 == 0, F.col("id") / 7 + 0.1).otherwise(-F.col("id") / 7).cast("double")
        )

    return make


def jobs(spark):
    return len(spark.sparkContext.statusTracker().getJobIdsForGroup(None))


def by_id(dataframe):
    return sorted((row.asDict() for row in dataframe.collect()), key=lambda row: row["id"])


def test_no_file_is_opened_that_the_task_does_not_trust(spark, rows, tmp_path):
    """Refused here and at once, before anything runs; and on the workers, where the files are there alone."""
    torch.save(Folder(str(tmp_path / "trace")), tmp_path / "m.pkl")
    given = [
        ModelSpec(weights="m.pkl", format="pickle"),
        ModelSpec(factory="test_ml_predict:opens", arguments={"file": "m.pkl"}),
        ModelSpec(factory="test_ml_predict:opens", files=["m.pkl"]),
    ]
    for spec in given:
        task = replace(make_task(), model=spec)
        with pytest.raises(ModelError, match=r"`trust_code: true`"):
            spark_ml_predict(spark, rows(10), task, model_loader=ModelLoader(tmp_path), slots=SLOTS)
        worker = PredictPartition(
            task=task, loader=ModelLoader(tmp_path), policy=SLOTS, columns=["x"], schema=pa.schema([]), batch_size=None,
            concurrent_slots=1, code={},
        )  # fmt: skip
        with pytest.raises(ModelError, match=r"`trust_code: true`"):
            list(worker(iter([pa.record_batch({"x": [1.0]})])))
    assert not (tmp_path / "trace").exists()


class Folder:
    """A pickle of this makes a folder when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def opens(_weights, _device, file="m.pkl"):
    return torch.load(file, weights_only=False)


def test_same_rows_as_predict_map_and_a_plain_torch_loop(spark, rows, tmp_path):
    """Three ways through the same model give the same class and confidence for every row."""
    data, task, loader = rows(1000), make_task(), ModelLoader(tmp_path)
    found = by_id(spark_ml_predict(spark, data, task, batch_size=64, model_loader=loader, slots=SLOTS))
    source = [row.asDict() for row in data.orderBy("id").collect()]
    mapped = list(predict_map(0, iter(source), task, 64, model_loader=loader))
    assert found == mapped
    x = torch.tensor([row["x"] for row in source], dtype=torch.float32)
    shares = torch.softmax(torch.stack([torch.zeros_like(x), x], dim=1), dim=1)
    confidence, label = shares.max(dim=1)
    assert [row["predicted_class"] for row in found] == [str(int(value)) for value in label]
    assert [row["confidence"] for row in found] == pytest.approx(confidence.tolist(), abs=1e-6)


def test_nothing_runs_until_it_is_used(spark, rows, tmp_path):
    """No job, and the source is not touched: it would raise."""
    explode = F.udf(lambda value: 1 / 0, "double")
    before = jobs(spark)
    lazy = spark_ml_predict(
        spark, rows(10).withColumn("x", explode("x")), make_task(), model_loader=ModelLoader(tmp_path), slots=SLOTS
    )
    shuffled = rows(10).groupBy("id").agg(F.sum("x").alias("x"))
    spark_ml_predict(spark, shuffled, make_task(), model_loader=ModelLoader(tmp_path), slots=SLOTS)
    assert lazy.columns == ["id", "x", "predicted_class", "confidence", "prediction_error"]
    assert jobs(spark) == before


def test_every_type_and_value_comes_back_as_it_was(spark, tmp_path):
    """Kept columns keep type, order, nullability and value: decimals, dates, instants, arrays, structs, maps, bytes."""
    schema = (
        "id bigint not null, price decimal(12,3), day date, at timestamp, local timestamp_ntz, tags array<string>, "
        "place struct<lat: double, name: string, deep: array<struct<n: int>>>, raw binary, counts map<string, int>, "
        "flag boolean, small tinyint, short smallint, real float, x double, `odd.na``me` string"
    )
    at = dt.datetime(2024, 3, 31, 1, 30, 0, 123456)  # noqa: DTZ001  (Spark's local time)
    data = spark.createDataFrame(
        [
            (1, decimal.Decimal("12.345"), dt.date(1900, 1, 1), at, at, ["a", None], (1.5, "ü", [(3,)]), b"\x00\xff",
             {"k": 1}, True, -8, 300, 0.5, 1.0, "dots"),
            (2, None, None, None, None, None, None, None, None, None, None, None, None, -1.0, None),
        ],
        schema,
    )  # fmt: skip
    found = spark_ml_predict(spark, data, make_task(), model_loader=ModelLoader(tmp_path), slots=SLOTS)
    assert found.schema.fields[: len(data.columns)] == data.schema.fields
    assert [field.dataType.simpleString() for field in found.schema.fields[-3:]] == ["string", "float", "string"]
    kept = [row[: len(data.columns)] for row in sorted(found.collect())]
    assert kept == [tuple(row) for row in sorted(data.collect())]


def test_a_session_in_another_time_zone_changes_no_instant(spark, tmp_path):
    """Arrow carries instants with the session's zone; the instant stays."""
    data = spark.sql("select 1.0D as x, timestamp'2024-03-31 01:30:00 UTC' as at")
    spark.conf.set("spark.sql.session.timeZone", "Asia/Kolkata")
    try:
        found = spark_ml_predict(spark, data, make_task(), model_loader=ModelLoader(tmp_path), slots=SLOTS)
        assert [row[0] for row in found.select(F.unix_micros("at")).collect()] == [1711848600000000]
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")


def test_empty_inputs_have_the_same_columns(spark, rows, tmp_path):
    """No rows, no partitions, or some empty partitions: the same schema, and no error."""
    loader = ModelLoader(tmp_path)
    full = spark_ml_predict(
        spark, rows(5), make_task(output=ClassificationOutput(scores=True)), model_loader=loader, slots=SLOTS
    )
    for empty in (rows(0), rows(5).where("id > 99"), spark.createDataFrame([], "id bigint, x double")):
        found = spark_ml_predict(
            spark, empty, make_task(output=ClassificationOutput(scores=True)), model_loader=loader, slots=SLOTS
        )
        assert [(f.name, f.dataType) for f in found.schema] == [(f.name, f.dataType) for f in full.schema]
        assert found.collect() == []
    assert len(spark_ml_predict(spark, rows(2, 7), make_task(), model_loader=loader, slots=SLOTS).collect()) == 2


@pytest.mark.promise("M17", "M60")
def test_hooks_given_here_go_before_the_tasks_own(spark, rows, tmp_path):
    """Row and batch hooks; a hook that returns None, or leaves a row out, drops it."""

    def drop_multiples_of_three(row):
        return None if row["id"] % 3 == 0 else {**row, "x": -row["x"]}

    def own(row):
        raise AssertionError("replaced by the argument")

    def small_ids(frame):
        return frame[frame["id"] < 8]

    task = make_task(hooks=Hooks(row_preprocessor=own))
    found = spark_ml_predict(
        spark,
        rows(12),
        task,
        row_preprocessor=drop_multiples_of_three,
        batch_postprocessor=small_ids,
        model_loader=ModelLoader(tmp_path),
        slots=SLOTS,
    )
    assert [(row["id"], row["predicted_class"]) for row in by_id(found)] == [
        (1, "1"), (2, "0"), (4, "0"), (5, "1"), (7, "1"),
    ]  # fmt: skip
    assert [row["x"] > 0 for row in by_id(found)] == [False, True, True, False, False]  # the table's own values


def test_a_postprocessor_adds_typed_columns(spark, rows, tmp_path):
    """Declared extra columns have their type; failed rows have their reason."""

    def add(row):
        return {**row, "risk": 1.0 - row["confidence"]}

    task = make_task(hook_columns={"risk": "double"}, keep_columns=["id"], hooks=Hooks(row_postprocessor=add))
    found = spark_ml_predict(spark, rows(4), task, model_loader=ModelLoader(tmp_path), slots=SLOTS)
    assert dict(found.dtypes) == {
        "id": "bigint", "predicted_class": "string", "confidence": "float", "prediction_error": "string", "risk": "double",
    }  # fmt: skip
    assert all(row["risk"] == pytest.approx(1 - row["confidence"]) for row in by_id(found))


@pytest.mark.promise("M52")
def test_failed_rows_stay_with_a_reason(spark, rows, tmp_path):
    """A poisoned row costs itself alone."""
    task = make_task("FailsOnValue", arguments={"value": 13.0})
    data = rows(10).withColumn("x", F.when(F.col("id") == 4, 13.0).otherwise(F.col("x")))
    found = by_id(spark_ml_predict(spark, data, task, model_loader=ModelLoader(tmp_path), slots=SLOTS))
    assert [row["id"] for row in found if row["prediction_error"]] == [4]
    assert "poison" in found[4]["prediction_error"]
    assert found[4]["predicted_class"] is None


@pytest.mark.promise("M23")
def test_a_rows_only_model_works(spark, rows, tmp_path):
    """A user's class with predict(rows) alone."""
    found = by_id(
        spark_ml_predict(spark, rows(5), make_task("RowsOnly"), model_loader=ModelLoader(tmp_path), slots=SLOTS)
    )
    assert [(row["predicted_class"], row["confidence"]) for row in found] == [("1", 0.75), ("0", 0.75)] * 2 + [
        ("1", 0.75)
    ]


def test_batches_are_full_but_the_last(spark, rows, tmp_path):
    """Exactly batch_size rows a forward pass, whatever Spark's Arrow batches are; the model reveals the size."""
    task = make_task("RevealsBatch", labels=[str(n) for n in range(6)], arguments={"classes": 6})
    found = spark_ml_predict(
        spark, rows(13), task, parallel=1, batch_size=5, model_loader=ModelLoader(tmp_path), slots=SLOTS
    )
    sizes = [row["predicted_class"] for row in found.collect()]
    assert sorted(sizes) == ["3"] * 3 + ["5"] * 10


def test_parallel(spark, rows, tmp_path):
    """Given, it is what happens; by default a DataFrame with too few partitions is spread over the slots, never shrunk."""

    def partitions(data, **arguments):
        found = spark_ml_predict(spark, data, make_task(), model_loader=ModelLoader(tmp_path), **arguments)
        return found.rdd.getNumPartitions()

    assert partitions(rows(9, 1), slots=SlotPolicy(slots=4)) == 4
    assert partitions(rows(9, 6), slots=SlotPolicy(slots=4)) == 6
    assert partitions(rows(9, 6), parallel=2) == 2
    with pytest.raises(TaskError, match="parallel=0 must be"):
        partitions(rows(9), parallel=0)


def test_where_and_names(spark, rows, tmp_path):
    """A task that the loader knows by name, with its filter."""
    loader = ModelLoader(tmp_path, tasks=[make_task(where=[RowFilter(column="id", op="<", value=3)])])
    assert [row["id"] for row in by_id(spark_ml_predict(spark, rows(9), "echo", model_loader=loader))] == [0, 1, 2]
    with pytest.raises(UnknownTaskError, match=r"'ecko'; did you mean 'echo'\?"):
        spark_ml_predict(spark, rows(9), "ecko", model_loader=loader)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["id", "id as y"], r"needs column 'x'.*Known: id, y"),
        (["id", "x as X"], "needs column 'x'; Known: X, id"),
        (["x", "x as y", "x as y"], "the input has columns 'y' twice; .* Rename or drop one"),
        (["x", "x as y", "x as Y"], "the input has columns 'y' and 'Y', which differ only in case"),
        (["x", "id as Confidence"], r"already has 'Confidence' \('confidence'\).*output_prefix"),
        (["x", "id as confidence"], r"already has 'confidence'.*output_prefix"),
        (["id", "cast(x as string) x"], "numeric feature 'x' has type string"),
        (["x", "make_ym_interval(1, 2) as span"], r"column 'span' has type interval .*cast it"),
    ],
)
def test_columns_are_checked_at_call_time(spark, rows, tmp_path, columns, message):
    """From the schema alone: no job."""
    before = jobs(spark)
    with pytest.raises(InputSchemaError, match=message):
        spark_ml_predict(spark, rows(3).selectExpr(*columns), make_task(), model_loader=ModelLoader(tmp_path))
    assert jobs(spark) == before


def test_missing_weights_are_named_at_call_time(spark, rows, tmp_path):
    """Not by a worker, minutes later and under a page of Java."""
    (tmp_path / "model.pt2").touch()
    task = replace(make_task(), model=ModelSpec(weights="modle.pt2"))
    with pytest.raises(ModelError, match=r"no file .*modle\.pt2; did you mean 'model\.pt2'"):
        spark_ml_predict(spark, rows(3), task, model_loader=ModelLoader(tmp_path))


def test_columns_that_nothing_needs_are_not_read(spark, rows, tmp_path):
    """A type that Arrow cannot carry is no obstacle where nobody asks for the column."""
    data = rows(3).selectExpr("*", "make_ym_interval(1, 2) as span")
    task = make_task(keep_columns=["id"])
    found = spark_ml_predict(spark, data, task, model_loader=ModelLoader(tmp_path), slots=SLOTS)
    assert "interval" not in found._jdf.queryExecution().optimizedPlan().toString()
    assert len(found.collect()) == 3


def test_streams_are_predicted_too(spark, rows, tmp_path):
    """A streaming DataFrame goes the same way."""
    rows(6).write.parquet(str(tmp_path / "stream"))
    stream = spark.readStream.schema("id bigint, x double").parquet(str(tmp_path / "stream"))
    found = spark_ml_predict(spark, stream, make_task(), model_loader=ModelLoader(tmp_path), slots=SLOTS)
    query = found.writeStream.format("memory").queryName("predicted").trigger(availableNow=True).start()
    query.awaitTermination(60)
    assert [row["predicted_class"] for row in by_id(spark.table("predicted"))] == ["1", "0"] * 3


def test_the_worker_function_runs_without_spark(tmp_path):
    """What the workers run is a module-level callable over record batches."""
    batch = pa.record_batch({"c0": [1.0, -1.0]})
    schema = pa.schema([("x", pa.float64()), ("predicted_class", pa.string()), ("confidence", pa.float32()),
                        ("prediction_error", pa.string())])  # fmt: skip
    worker = PredictPartition(
        task=make_task(),
        loader=ModelLoader(tmp_path),
        policy=SLOTS,
        columns=["x"],
        schema=schema,
        batch_size=None,
        concurrent_slots=1,
        code={},
    )
    (found,) = worker(iter([batch.slice(0, 0), batch]))
    assert found.schema == schema
    assert list(worker(iter([]))) == []


HOURS = """
def add(row):
    times = [row["at"], *row["times"], row["place"]["at"], row["place"]["no"]["at"], *dict(row["by"]).values()]
    return {**row, "hours": " ".join(str(time.hour) for time in times)}
"""


@pytest.mark.promise("T96")
def test_hooks_see_the_same_hour_by_all_verbs(spark, tmp_path):
    """In UTC, in nested columns too, whatever the session's time zone; kept columns stay the same instants."""
    at = dt.datetime(2013, 7, 1, 2, 30, tzinfo=dt.UTC)
    instant = pa.timestamp("us", "UTC")
    columns = {
        "id": pa.array([1]),
        "x": pa.array([1.0]),
        "at": pa.array([at], instant),
        "times": pa.array([[at]], pa.list_(instant)),
        "place": pa.array([{"at": at, "no": {"at": at}}], pa.struct([("at", instant), ("no", pa.struct([("at", instant)]))])),
        "by": pa.array([[("k", at)]], pa.map_(pa.string(), instant)),
    }  # fmt: skip
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "in" / "a.parquet")
    task = make_task(hooks=Hooks(row_postprocessor="hours_hook:add"), hook_columns={"hours": "string"})
    (Path(SparkFiles.getRootDirectory()) / "hours_hook.py").write_text(HOURS)  # where workers import from, too
    loader, lake = ModelLoader(tmp_path), {}
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    try:
        data = spark.read.parquet(str(tmp_path / "in" / "a.parquet"))
        predicted = spark_ml_predict(spark, data, task, model_loader=loader, slots=SLOTS)
        by_verb = {"spark_ml_predict": [row["hours"] for row in predicted.select("hours").collect()]}
        kept = predicted.select(
            F.unix_micros("at"), F.unix_micros("place.no.at"), F.unix_micros(F.col("times")[0])
        ).collect()
        for verb in ("score_dataframe", "score_table"):
            lake[verb] = str(tmp_path / verb)
        score_dataframe(spark, data, task, output_table=lake["score_dataframe"], model_loader=loader)
        score_table(spark, str(tmp_path / "in"), task, output_table=lake["score_table"], model_loader=loader)
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")
    by_verb |= {verb: DeltaTable(uri).to_pyarrow_table()["hours"].to_pylist() for verb, uri in lake.items()}
    assert by_verb == {verb: ["2 2 2 2 2"] for verb in ("spark_ml_predict", *lake)}
    assert [tuple(row) for row in kept] == [(int(at.timestamp()) * 1_000_000,) * 3]

"""`score_table` over tables of other writers: what their logs, folders and columns mean reaches the predictions."""

import datetime as dt
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delta_log import column, put_file, write_log
from deltalake import DeltaTable, write_deltalake
from jobs_here import JobsHere
from pyspark.sql import Row

from sparktorch_assets.errors import InputSchemaError
from sparktorch_assets.lake.table import Table
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score.table import plan_table, score_table
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature


def task(**more):
    return MlTask(
        name="above",
        input="numbers",
        model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
        features=[NumericFeature(columns=["x"])],
        labels=["no", "yes"],
        **more,
    )


def score(root, verb=score_table, job=None, **more):
    tables = {
        "output_table": str(root / "out"),
        "model_loader": ModelLoader(str(root)),
    }
    session = [JobsHere()] if verb is score_table else []
    return verb(*session, str(root / "in"), job or task(), **tables, **more)


def classes(root):
    rows = DeltaTable(str(root / "out")).to_pyarrow_table().select(["id", "predicted_class"])
    return sorted(tuple(row.values()) for row in rows.to_pylist())


@pytest.mark.parametrize("hive", [True, False])
@pytest.mark.parametrize(
    "days", [[dt.date(2013, 1, 1), dt.date(2013, 1, 2)], [5, 6], ["a b/ü", "50% #1"]], ids=["dates", "numbers", "texts"]
)
def test_one_partition_at_a_time(tmp_path, days, hive):
    """By the value itself as by its text."""
    rows = pa.table({"id": [1, 2, 3], "x": [0.5, -1.0, 2.0], "ds": [days[0], days[0], days[1]]})
    if hive:
        write_deltalake(str(tmp_path / "in"), rows, partition_by=["ds"])
    else:
        (tmp_path / "in").mkdir()
        pq.write_table(rows, tmp_path / "in" / "a.parquet", row_group_size=1)
    report = score(tmp_path, partition={"ds": days[0]})
    assert (report.rows_table, classes(tmp_path)) == (2, [(1, "yes"), (2, "no")])
    assert report.partition == (("ds", str(days[0])),)
    json.dumps(report.partition)
    assert not score(tmp_path, partition={"ds": str(days[0])}).changed
    score(tmp_path, partition={"ds": str(days[1])})
    found = DeltaTable(str(tmp_path / "out")).to_pyarrow_table()
    assert found["ds"].type == rows["ds"].type
    assert dict(zip(found["id"].to_pylist(), found["ds"].to_pylist(), strict=True)) == dict(
        zip([1, 2, 3], rows["ds"].to_pylist(), strict=True)
    )


@pytest.mark.parametrize("names", [["id", "x", "X"], ["id", "x", "x"], ["id", "x", "ID"]])
def test_columns_that_are_not_distinct_end_the_planning(tmp_path, names):
    """Whether or not the task uses them."""
    (tmp_path / "in").mkdir()
    rows = pa.Table.from_arrays([pa.array([1.0])] * 3, names=names)
    pq.write_table(rows, tmp_path / "in" / "a.parquet")
    with pytest.raises(
        InputSchemaError, match=r"there are columns .* cannot tell them apart; rename one in the input"
    ) as refused:
        score(tmp_path, plan_table, job=task(keep_columns=["id"]))
    assert repr(names[2]) in str(refused.value)


def test_a_column_of_a_type_that_delta_lacks_disturbs_only_who_keeps_it(tmp_path):
    (tmp_path / "in").mkdir()
    rows = pa.table({"id": [1], "x": [1.0], "at": pa.array([1], pa.time64("us"))})
    pq.write_table(rows, tmp_path / "in" / "a.parquet")
    with pytest.raises(InputSchemaError, match=r"column 'at' has type time64\[us\].*leave it out of keep_columns"):
        score(tmp_path, plan_table)
    score(tmp_path, job=task(keep_columns=["id"]))
    assert classes(tmp_path) == [(1, "yes")]


@pytest.mark.promise("T41", "T69")
def test_spark_and_we_read_each_others_partition_folders(tmp_path, spark):
    """Whatever needs encoding in a folder's name."""
    texts = ["a b", "50%", "%20", "#1", "a+b", "a=b", "ü€", "a/b", "..", "a'b", "x\ny", "*", "05", ":", "{x}"]
    rows = spark.createDataFrame(
        [Row(id=number, x=float(number), ds=text) for number, text in enumerate([*texts, None])]
    )
    rows.write.partitionBy("ds").parquet(str(tmp_path / "in"))
    wanted = dict(enumerate(texts))
    assert {row["id"]: row["ds"] for row in Table(str(tmp_path / "in")).preview(99)} == {**wanted, len(texts): None}
    for text in texts:
        score(tmp_path, partition={"ds": text})
    reader = spark.read.option("basePath", str(tmp_path / "out"))
    spark.conf.set("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
    try:
        found = reader.parquet(*DeltaTable(str(tmp_path / "out")).file_uris()).collect()
    finally:
        spark.conf.unset("spark.sql.sources.partitionColumnTypeInference.enabled")
    assert {row["id"]: row["ds"] for row in found} == wanted


@pytest.mark.parametrize("mode", ["name", "id"])
def test_columns_that_exchange_their_names_are_scored_again(tmp_path, mode):
    """`RENAME COLUMN` changes no file: the same name stands for other values afterwards. A column that the task does not
    read may have any name."""

    def declare(version, **numbers):
        columns = [
            column(name, kind, **{"delta.columnMapping.physicalName": f"c{number}", "delta.columnMapping.id": number})
            for (name, number), kind in zip(numbers.items(), ["long", "double", "double", "double"], strict=True)
        ]
        properties = {"delta.columnMapping.mode": mode}
        write_log(tmp_path / "in", columns, [action], version=version, properties=properties, reader=2)

    kinds = [pa.int64(), pa.float64(), pa.float64(), pa.float64()]
    fields = [
        pa.field(f"c{number}", kind, metadata={"PARQUET:field_id": str(number)})
        for number, kind in enumerate(kinds, start=1)
    ]
    rows = pa.table({"c1": [1, 2], "c2": [1.0, 1.0], "c3": [-1.0, -1.0], "c4": [0.0, 0.0]}, schema=pa.schema(fields))
    action = put_file(tmp_path / "in", "a.parquet", rows)
    job = task(keep_columns=["id"])
    declare(0, id=1, x=2, y=3, z=4)
    score(tmp_path, job=job)
    assert classes(tmp_path) == [(1, "yes"), (2, "yes")]
    declare(1, id=1, x=2, y=4, z=3)
    assert not score(tmp_path, plan_table, job).new
    declare(2, id=1, x=3, y=2, z=4)
    score(tmp_path, job=job)
    assert classes(tmp_path) == [(1, "no"), (2, "no")]

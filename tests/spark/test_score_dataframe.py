"""score_dataframe: what no worker can read by itself becomes the same kind of table, counted from what was written."""

import dataclasses
import datetime as dt
from pathlib import Path

import pytest
from deltalake import DeltaTable
from pyspark.sql import functions as F  # noqa: N812  (its usual name)

from sparktorch_assets.errors import ModelError, TableError, TaskError, TooManyFailedRowsError
from sparktorch_assets.lake.parts.damage import damaged_file
from sparktorch_assets.lake.table import Table, data_version, table_version
from sparktorch_assets.lake.table_tally import table_tally
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score.dataframe import score_dataframe
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.tasks import Hooks, MlTask, ModelSpec, NumericFeature, RowFilter

TASK = MlTask(
    name="t",
    input="view",
    model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
    features=[NumericFeature(columns=["x"])],
    labels=["0", "1"],
)


@pytest.fixture
def score(spark, tmp_path):
    def run(data, task=TASK, **options):
        return score_dataframe(
            spark, data, task, output_table=str(tmp_path / "table"), model_loader=ModelLoader(tmp_path), **options
        )

    return run


def numbers(spark, rows, parts=3):
    x = F.when(F.col("id") % 2 == 0, 1.0).otherwise(-1.0)
    return spark.range(0, rows, 1, parts).select("id", x.alias("x"), F.timestamp_seconds("id").alias("at"))


def rows_of(table):
    return sorted(DeltaTable(str(table)).to_pyarrow_table().to_pylist(), key=lambda row: row["id"])


@pytest.mark.promise("O155")
def test_the_truth_is_read_from_the_written_table(spark, score):
    data = numbers(spark, 100).withColumn("truth", F.when(F.col("id") < 50, "1"))
    report = score(data, dataclasses.replace(TASK, truth="truth"))
    assert report.tally.confusion == {'["1","1"]': 25, '["1","0"]': 25}
    assert report.tally.marks == {"rows without a truth": 50}
    assert sum(report.tally.calibration_rows.values()) == 50
    with pytest.raises(TaskError, match="truth='truth' is no kept column.*add it to keep_columns"):
        score(data, dataclasses.replace(TASK, truth="truth", keep_columns=["id"]))


@pytest.mark.promise("T29")
def test_a_dataframe_becomes_a_table_in_one_commit(spark, score, tmp_path):
    table = tmp_path / "table"
    report = score(numbers(spark, 100), run_id="r1")
    assert (report.path, report.version, report.changed, report.rows_in, report.rows_table) == (
        "spark_ml_predict", 0, True, 100, 100,
    )  # fmt: skip
    assert report.tally.classes == {"0": 50, "1": 50}
    assert sum(report.tally.confidence_histogram) == report.tally.rows == 100
    assert report.data_version == data_version(str(table))
    assert Table(str(table)).metadata["run_id"] == "r1"
    assert table_tally(Table(str(table))) == report.tally
    rows = rows_of(table)
    assert [row["predicted_class"] for row in rows] == ["1", "0"] * 50
    assert rows[7]["at"] == dt.datetime(1970, 1, 1, 0, 0, 7, tzinfo=dt.UTC)
    assert sorted(row.id for row in spark.read.parquet(*DeltaTable(str(table)).file_uris()).collect()) == list(
        range(100)
    )
    # Nothing else lies there: no staging folder, no log of Spark's.
    assert {path.suffix for path in table.iterdir()} == {"", ".parquet"}

    again = score(numbers(spark, 100))
    assert (again.changed, again.version, again.data_version) == (False, 0, report.data_version)
    fewer = score(numbers(spark, 10, parts=1))
    assert (fewer.version, fewer.rows_table, fewer.shards_removed) == (1, 10, report.shards_new)
    assert len(rows_of(table)) == 10


@pytest.mark.parametrize("damage", ["deleted", "cut", "same size"])
def test_a_lost_part_is_written_again(spark, score, tmp_path, damage):
    """The same rows come under the same names: the file is put back, and the log stays as it is."""
    report = score(numbers(spark, 100))
    file = Path(min(DeltaTable(report.table).file_uris()))
    content = file.read_bytes()
    file.unlink() if damage == "deleted" else file.write_bytes(content[:20])
    if damage == "same size":
        file.write_bytes(content[:-1] + b"?")
        damaged_file(str(file), OSError("a reader says so"))
    assert score(numbers(spark, 100)).version == 0
    assert file.read_bytes() == content
    assert len(rows_of(report.table)) == 100


def test_the_sessions_settings_for_writing_change_no_row(spark, score):
    """Dates before 1582 and lists, as other readers see them; the settings are the user's again afterwards."""
    hostile = {
        "spark.sql.parquet.datetimeRebaseModeInWrite": "LEGACY",
        "spark.sql.parquet.outputTimestampType": "INT96",
        "spark.sql.parquet.writeLegacyFormat": "true",
    }
    data = numbers(spark, 2).selectExpr(
        "*", "DATE'1000-01-01' AS day", "TIMESTAMP'1500-02-28 12:00:00Z' AS then", "array(1, 2) AS list"
    )
    for key, value in hostile.items():
        spark.conf.set(key, value)
    try:
        report = score(data)
        assert {key: spark.conf.get(key) for key in hostile} == hostile
    finally:
        for key in hostile:
            spark.conf.unset(key)
    row = rows_of(report.table)[0]
    assert (row["day"], row["list"]) == (dt.date(1000, 1, 1), [1, 2])
    assert row["then"] == dt.datetime(1500, 2, 28, 12, tzinfo=dt.UTC)


def test_filtered_dropped_and_failed_rows_are_told_apart(spark, score, tmp_path):
    """Spark counts the rows on their way in, the written parts say the rest; the model runs once."""
    data = numbers(spark, 100).withColumn("x", F.when(F.col("id") == 4, None).otherwise(F.col("x")))
    task = dataclasses.replace(
        TASK,
        where=[RowFilter(column="id", op="<", value=50)],
        hooks=Hooks(row_postprocessor=lambda row: row if row["id"] % 5 else None),
        max_failed_share=0.5,
    )
    tally = score(data, task).tally
    assert (tally.filtered, tally.dropped, tally.failed, tally.predicted, tally.rows) == (50, 10, 1, 39, 50)
    assert list(tally.reasons.values()) == [1]
    assert tally.balanced
    tally = score(data, dataclasses.replace(task, hooks=Hooks())).tally
    assert (tally.filtered, tally.dropped, tally.rows) == (50, 0, 50)
    with pytest.raises(TooManyFailedRowsError, match="1 of 100 rows failed"):
        score(data, dataclasses.replace(TASK, max_failed_rows=0))
    assert table_version(str(tmp_path / "table")) == 1


def test_an_empty_dataframe_gives_an_empty_table(spark, score, tmp_path):
    report = score(numbers(spark, 0))
    assert (report.version, report.rows_in, report.rows_table) == (0, 0, 0)
    assert Table(str(tmp_path / "table")).schema.names[-3:] == ["predicted_class", "confidence", "prediction_error"]
    assert score(numbers(spark, 9).limit(0)).changed is False


@pytest.mark.promise("T29")
def test_both_ways_into_one_table_follow_each_other(spark, score, tmp_path):
    numbers(spark, 20).write.parquet(f"file://{tmp_path}/source")
    source, table = str(tmp_path / "source"), str(tmp_path / "table")
    files = lambda: score_table(spark, source, TASK, output_table=table, model_loader=ModelLoader(tmp_path))  # noqa: E731
    assert (score(numbers(spark, 50)).version, files().version) == (0, 1)
    assert Table(str(tmp_path / "table")).row_count() == 20
    assert files().changed is False
    assert (score(numbers(spark, 50)).version, Table(str(tmp_path / "table")).row_count()) == (2, 50)


def test_errors_come_under_their_own_type_and_change_nothing(spark, score, tmp_path):
    broken = dataclasses.replace(TASK, model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo", "classes": 5}))  # fmt: skip
    with pytest.raises(ModelError) as caught:
        score(numbers(spark, 10), broken)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(TaskError, match="streaming DataFrame"):
        score(spark.readStream.format("rate").load())
    rand = numbers(spark, 50).where(F.rand() < 2)
    assert score(rand).rows_table == 50
    assert not list((tmp_path / "table").glob("_staging*"))


def test_rows_that_nobody_can_account_for_stop_the_commit(spark, score, monkeypatch):
    from sparktorch_assets.spark.score import dataframe as module

    real = module.read_written
    monkeypatch.setattr(module, "read_written", lambda *given: real(*given)[1:])
    with pytest.raises(TableError, match=r"tasks wrote 30 rows to .*, and 20 are there.*Nothing was committed"):
        score(numbers(spark, 30))

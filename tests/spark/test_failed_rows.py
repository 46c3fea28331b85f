"""Rows that failed can be looked at: in the error of a refresh that was refused, and as a table of their own."""

import dataclasses
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import functions as F  # noqa: N812  (its usual name)

from sparktorch_assets import failed_rows
from sparktorch_assets.errors import TableError, TooManyFailedRowsError
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.log.commit import commit_parts
from sparktorch_assets.lake.parts.writer import PartWriter
from sparktorch_assets.lake.table import table_version
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score.dataframe import score_dataframe
from sparktorch_assets.spark.score.failures.failure_reasons import too_many_failed_rows
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature

TASK = MlTask(
    name="t",
    model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
    features=[NumericFeature(columns=["x"])],
    labels=["0", "1"],
)


@pytest.mark.promise("T17", "T110", "T111")
def test_a_refused_refresh_quotes_rows_and_leaves_them_to_be_read(spark, tmp_path):
    table, source = str(tmp_path / "table"), str(tmp_path / "rows.parquet")
    pq.write_table(pa.table({"x": [None if row % 10 == 3 else 1.0 for row in range(100)], "id": range(100)}), source)
    with pytest.raises(TooManyFailedRowsError) as caught:
        score_table(spark, source, TASK, output_table=table, model_loader=ModelLoader(tmp_path))
    first, quoted, last = str(caught.value).splitlines()
    (reason,) = caught.value.reasons
    assert first.startswith(
        "task 't': 10 of 100 rows failed (10.00%), over max_failed_share=0.01. Most frequent reasons: 10 x encode: "
    )
    assert (reason.rows, reason.rows_shown) == (10, ("id=3", "id=13", "id=23", "id=33", "id=43"))
    assert quoted == f"  {reason.message} (in the rows id=3; id=13; id=23; id=33; id=43)"
    assert last.startswith("Nothing was committed: fix the rows or the task, or raise the limit.")
    assert f"failed_rows({table!r}, uncommitted=True)" in last

    found = failed_rows(table, uncommitted=True).to_pylist()
    assert [row["id"] for row in found] == list(range(3, 100, 10))
    assert {row["prediction_error"] for row in found} == {reason.message}
    with pytest.raises(TableError, match="has no version yet.*uncommitted=True returns them"):
        failed_rows(table)

    lenient = dataclasses.replace(TASK, max_failed_share=0.5)
    score_table(spark, source, lenient, output_table=table, model_loader=ModelLoader(tmp_path))
    assert failed_rows(table).to_pylist() == found
    with pytest.raises(TableError, match="holds no uncommitted part.*without uncommitted=True"):
        failed_rows(table, uncommitted=True)


@pytest.mark.promise("T110")
def test_a_refused_dataframe_quotes_rows_from_the_files_that_are_deleted(spark, tmp_path):
    data = spark.range(0, 100, 1, 3).select("id", F.when(F.col("id") % 50 != 7, F.lit(1.0)).alias("x"))
    with pytest.raises(
        TooManyFailedRowsError, match=r"(?s)2 of 100 rows failed.*\(in the rows id=7; id=57\)"
    ) as caught:
        score_dataframe(spark, data, TASK, output_table=str(tmp_path / "table"), model_loader=ModelLoader(tmp_path))
    assert "uncommitted" not in str(caught.value)
    assert table_version(str(tmp_path / "table")) is None


def written(table, digit, errors, partition=(), prefix="", **columns):
    """A finished part with one row per error, and its tally."""
    rows = pa.table(
        {
            **columns,
            f"{prefix}predicted_class": pa.array([None if error else "no" for error in errors], pa.string()),
            f"{prefix}confidence": pa.array([None if error else 1.0 for error in errors], pa.float32()),
            f"{prefix}prediction_error": pa.array(errors, pa.string()),
        }
    )
    failed = [error for error in errors if error]
    reasons = [": ".join(error.split(": ")[:2]) for error in failed]
    tally = Tally(
        rows=len(errors),
        failed=len(failed),
        predicted=len(errors) - len(failed),
        reasons={reason: reasons.count(reason) for reason in reasons},
    )
    folder = Folder(str(table))
    folder.create()
    with PartWriter(folder, digit * 32, rows.schema, partition=partition) as writer:
        for batch in rows.to_batches():
            writer.write(batch)
        part, receipt = writer.finish(tally)
    return part, receipt.tally, rows.schema


def refused(task, table, *parts):
    tally = Tally.total(tally for _, tally, _ in parts)
    tallies = {part.path: tally for part, tally, _ in parts}
    return too_many_failed_rows(task, "many rows failed", tally, Folder(str(table)), tallies, kept=True)


def test_each_reason_has_a_message_and_rows_that_columns_tell_apart(tmp_path):
    one = written(
        tmp_path, "1", ["encode: null: a", None, "hook: E: b: c"], name=["a", "b", "b"], n=[1, 2, 2], x=[0.1] * 3
    )
    two = written(tmp_path, "2", ["encode: null: a"] * 9, name=["a"] * 9, n=list(range(2, 11)), x=[0.1] * 9)
    error = refused(TASK, tmp_path, one, two)
    assert [(found.reason, found.rows, found.message) for found in error.reasons] == [
        ("encode: null", 10, "encode: null: a"),
        ("hook: E", 1, "hook: E: b: c"),
    ]
    assert error.reasons[0].rows_shown == tuple(f"name=a, n={number}" for number in range(1, 6))
    assert error.reasons[1].rows_shown == ("name=b, n=2",)


@pytest.mark.promise("T112")
def test_no_content_of_rows_where_the_task_shows_none(tmp_path):
    one = written(tmp_path, "1", ["hook: ValueError: secret"], name=["secret"])
    error = refused(dataclasses.replace(TASK, preview_rows=0), tmp_path, one)
    assert "secret" not in f"{error} {error.reasons}"
    assert [(found.reason, found.rows, found.message) for found in error.reasons] == [("hook: ValueError", 1, "")]


def test_a_message_cannot_control_a_terminal(tmp_path):
    error = refused(TASK, tmp_path, written(tmp_path, "1", ["hook: E: \x1b[2J\u202e"], name=["\n\x9b"]))
    assert all(line.isprintable() for line in str(error).splitlines())


def test_parts_that_are_gone_take_nothing_but_the_rows(tmp_path):
    part, tally, schema = written(tmp_path, "1", ["hook: E: text"], id=[1])
    (tmp_path / part.path).unlink()
    assert str(refused(TASK, tmp_path, (part, tally, schema))).startswith("many rows failed\nNothing was committed")


@pytest.mark.promise("T111")
def test_uncommitted_means_in_no_version(tmp_path):
    """Not in the current one nor in an older one; of two attempts, the newer comes first."""
    table = str(tmp_path)
    first, _, schema = written(table, "1", ["a: b: first"], id=[1])
    commit_parts(table, schema, add=[first], remove=[], metadata={}, read_version=None, description="")
    second, _, _ = written(table, "2", [None, "a: b: second"], id=[1, 2])
    commit_parts(table, schema, add=[second], remove=[first.path], metadata={}, read_version=0, description="")
    third, _, _ = written(table, "3", ["a: b: third"], id=[3])
    fourth, _, _ = written(table, "4", ["a: b: fourth", None, "a: b: fifth"], id=[4, 5, 6])
    other, _, _ = written(table, "5", ["a: b: other"], id=["text"])
    for age, part in enumerate([fourth, third, other]):
        os.utime(tmp_path / part.path, (1e9 - age, 1e9 - age))
    assert failed_rows(table)["id"].to_pylist() == [2]
    assert failed_rows(table, uncommitted=True)["id"].to_pylist() == [4, 6, 3]
    assert failed_rows(table, uncommitted=True, limit=2)["id"].to_pylist() == [4, 6]
    assert failed_rows(table, uncommitted=True, limit=None).num_rows == 3
    assert failed_rows(table, limit=0).num_rows == 0


@pytest.mark.promise("T178")
def test_parts_older_than_a_shortened_log_are_not_taken_for_uncommitted(tmp_path):
    """The commits that listed them are gone."""
    table = str(tmp_path)
    parts = [written(table, str(number), ["a: b: text"], id=[number]) for number in range(3)]
    for number, (part, _, schema) in enumerate(parts):
        removed = [parts[number - 1][0].path] if number else []
        commit_parts(
            table, schema, add=[part], remove=removed, metadata={}, read_version=number - 1 if number else None
        )
    DeltaTable(table).create_checkpoint()
    for path in [*tmp_path.glob("part-*"), tmp_path / "_delta_log" / f"{0:020}.json"]:
        os.utime(path, (1e9, 1e9))
    (tmp_path / "_delta_log" / f"{0:020}.json").unlink()
    (tmp_path / "_delta_log" / f"{1:020}.json").unlink()
    with pytest.raises(TableError, match="holds no uncommitted part"):
        failed_rows(table, uncommitted=True)
    written(table, "4", ["a: b: refused"], id=[4])
    assert failed_rows(table, uncommitted=True)["id"].to_pylist() == [4]


def test_partitions_and_prefixes_are_followed(tmp_path):
    """A chained task keeps the other's prediction_error, which is not its own."""
    written(
        tmp_path, "1", ["a: b: mine", None], (("ds", "2013-01-01"),), "my_",
        predicted_class=["x", "x"], confidence=[1.0, 1.0], prediction_error=["theirs", "theirs"],
    )  # fmt: skip
    (row,) = failed_rows(str(tmp_path), uncommitted=True).to_pylist()
    assert (row["my_prediction_error"], row["ds"]) == ("a: b: mine", "2013-01-01")


def test_a_lost_part_is_named(tmp_path):
    part, _, schema = written(tmp_path, "1", ["a: b: text"], id=[1])
    commit_parts(str(tmp_path), schema, add=[part], remove=[], metadata={}, read_version=None, description="")
    (tmp_path / part.path).unlink()
    with pytest.raises(TableError, match=rf"{part.path}' cannot be opened: .*the next refresh of its table writes it"):
        failed_rows(str(tmp_path))


def test_a_table_without_predictions_is_refused(tmp_path):
    write_deltalake(str(tmp_path), pa.table({"id": [1], "error": ["no prediction"]}))
    with pytest.raises(TableError, match="has no column prediction_error, so it is not a table of predictions"):
        failed_rows(str(tmp_path))
    with pytest.raises(TableError, match="limit=-1 must not be below 0"):
        failed_rows(str(tmp_path), limit=-1)

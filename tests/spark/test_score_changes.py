"""What changes between two runs of one session: files, inputs upstream, code. All that it touches is scored, and no more."""

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from lone_files import lone_file
from pyspark import SparkFiles
from test_score import TASK, Lake, lake, session  # noqa: F401  (fixtures)

from sparktorch_assets.errors import CommitConflictError
from sparktorch_assets.lake.table import Table, data_version
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.inputs.materialize import materialize_input
from sparktorch_assets.spark.score import refresh as refresh_module
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.tasks import ClassificationOutput, Hooks, InputTable, ModelSpec, RowFilter


@pytest.mark.promise("T48")
def test_a_rewritten_weights_file_scores_everything_anew(lake):  # noqa: F811
    """The same task, the same path: the file's content counts, in the plan and in workers that have the old one up."""
    lake.write("one", 40)
    lake.write("two", 20)
    weights = lake.root / "seed.txt"
    weights.write_text("0")
    task = dataclasses.replace(
        TASK, model=ModelSpec(weights="seed.txt", factory="score_nets:from_file", trust_code=True)
    )
    lake.score(task)
    lake.check(seed=0)
    weights.write_text("1")
    report = lake.score(task)
    assert (report.shards_new, report.shards_unchanged, report.shards_removed) == (2, 0, 2)
    lake.check(seed=1)
    weights.write_text("0")
    back = lake.score(task)
    assert (back.shards_new, back.shards_resumed) == (0, 2)  # the old parts are still there
    lake.check(seed=0)


def test_an_input_materialized_again_scores_nothing(lake, spark):  # noqa: F811
    """Unchanged sources: no session is asked for, no version is written, by the input or by the predictions."""
    folder = lake.root / "csv"
    folder.mkdir()
    (folder / "a.csv").write_text("id,a,b\n" + "".join(f"r{i},{i}.5,{-i}.0\n" for i in range(30)))
    table = InputTable(
        name="things", source=["csv/*.csv"], format="csv", options={"header": True},
        columns={"id": "string", "a": "double", "b": "double"},
    )  # fmt: skip
    lake.source = lake.root / "things"

    def both():
        given = materialize_input(lake.spark, table, project_root=lake.root, table_uri=str(lake.source))
        return given, lake.score()

    first, scored = both()
    asked, files = lake.sessions_asked, sorted(lake.root.rglob("*"))
    again, rescored = both()
    assert (again.changed, again.version, again.data_version) == (False, 0, first.data_version)
    assert (rescored.changed, rescored.version, rescored.shards_new, rescored.rows_table) == (False, 0, 0, 30)
    assert rescored.data_version == scored.data_version
    assert (lake.sessions_asked, sorted(lake.root.rglob("*"))) == (asked, files)

    (folder / "b.csv").write_text("id,a,b\nx,1.0,2.0\n")
    assert both()[1].shards_new == 1
    lake.check()


def test_a_chained_task_scores_what_changed_upstream_alone(lake):  # noqa: F811
    """The second task reads the first one's predictions, those of one class; its filter reaches the row groups."""
    for name in ("one", "two"):
        lake.write(name, 1_100)  # parts of more than 1,000 rows share no shard
    lake.score()
    second = Lake.__new__(Lake)
    second.__dict__ = {**lake.__dict__, "source": lake.table, "table": lake.root / "second", "progress": []}
    task = dataclasses.replace(
        TASK, name="second", input="predictions/t", output_prefix="second_", where=[RowFilter(column="predicted_class", value="x")],
        keep_columns=["id", "predicted_class"],
    )  # fmt: skip
    first = second.score(task)
    wanted = [row["id"] for row in lake.rows() if row["predicted_class"] == "x"]
    assert [row["id"] for row in second.rows()] == wanted
    assert (first.rows_in, first.rows_table, first.tally.filtered) == (2_200, len(wanted), 2_200 - len(wanted))

    assert lake.score().changed is False
    assert second.score(task).changed is False
    assert (lake.sessions_asked, second.sessions_asked) == (1, 2)  # one of them asked before the copy was made
    lake.write("three", 1_050)
    (lake.source / lone_file("one")).unlink()
    lake.score()
    report = second.score(task)
    assert (report.shards_new, report.shards_unchanged, report.shards_removed, report.rows_new) == (1, 1, 1, 1_050)
    assert [row["id"] for row in second.rows()] == [row["id"] for row in lake.rows() if row["predicted_class"] == "x"]


@pytest.mark.promise("T45")
def test_spark_reads_the_listed_files_as_the_same_rows(lake, spark):  # noqa: F811
    lake.write("one", 60)
    lake.write("two", 30)
    lake.score()
    lake.write("two", 20)
    lake.score()
    uris = DeltaTable(str(lake.table)).file_uris()
    seen = sorted((row.asDict() for row in spark.read.parquet(*uris).collect()), key=lambda row: row["id"])
    assert seen == lake.rows()
    assert len(seen) == 80


@pytest.mark.slow
def test_a_hook_that_was_edited_runs_as_it_is_now(lake):  # noqa: F811
    """Spark's Python workers live on between jobs, with the module's old code loaded; so does the driver."""
    hooks = Path(SparkFiles.getRootDirectory())  # the driver and the workers import from there
    task = dataclasses.replace(
        TASK,
        hooks=Hooks(row_postprocessor="edited_hook:mark"),
        hook_columns={"mark": "string"},
    )
    for number in range(4):
        lake.write(f"file{number}", 20)

    def marks(text):
        (hooks / "edited_hook.py").write_text(f"def mark(row):\n    return row | {{'mark': {text!r}}}\n")
        report = lake.score(task)
        return report.shards_new, {row["mark"] for row in lake.rows()}

    assert marks("old") == (4, {"old"})
    assert marks("new one") == (4, {"new one"})
    (hooks / "edited_hook.py").write_text("# a comment\n" + (hooks / "edited_hook.py").read_text())
    assert lake.score(task).changed is False


def dated(folder, name, days):
    pq.write_table(
        pa.table({"id": [f"{name}{i}" for i in range(len(days))], "a": [1.0] * len(days), "b": [2.0] * len(days), "ds": days}),
        folder / f"{name}.parquet",
        row_group_size=2,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.promise("T60", "T66")
def test_one_partition_is_scored_and_the_others_stay(lake, monkeypatch):  # noqa: F811
    dated(lake.source, "one", ["2013-01-01"] * 3 + ["2013-01-02"] * 3)
    dated(lake.source, "two", ["2013-01-02"] * 2)
    day = lambda number: {"partition": {"ds": f"2013-01-0{number}"}}  # noqa: E731

    def score_day(number, task=TASK):
        return lake.score(task, **day(number))

    one, two = score_day(1), score_day(2)
    assert (one.partition, one.rows_table, two.rows_table, two.version) == ((("ds", "2013-01-01"),), 3, 5, 1)
    assert (one.tally.predicted, one.tally.outside, one.tally.filtered, one.rows_in) == (3, 3, 0, 3)
    assert {row["ds"] for row in lake.rows()} == {"2013-01-01", "2013-01-02"}
    assert len(lake.rows()) == 8
    assert Table(str(lake.table)).metadata["partition"] == "ds=2013-01-02"
    asked = lake.sessions_asked
    assert (score_day(1).changed, lake.sessions_asked) == (False, asked)

    kept = {path: path.read_bytes() for path in lake.table.glob("ds=2013-01-01/*")}
    more = dataclasses.replace(TASK, output=ClassificationOutput(scores=True), keep_columns=["id", "a", "b"])
    again = score_day(2, more)
    assert (again.version, again.shards_new, again.rows_table, again.tally.predicted) == (2, 1, 5, 5)
    assert {path: path.read_bytes() for path in kept} == kept
    assert {(row["ds"], row["scores"] is None) for row in lake.rows()} == {("2013-01-01", True), ("2013-01-02", False)}

    # Another run commits to the other partition, then to this one, between our scoring and our commit.
    real = refresh_module.commit_plans

    def meanwhile(number, code_version):
        def commit(*given, **named):
            monkeypatch.setattr(refresh_module, "commit_plans", real)
            score_day(number, dataclasses.replace(more, code_version=code_version))
            return real(*given, **named)

        monkeypatch.setattr(refresh_module, "commit_plans", commit)

    meanwhile(1, "a")
    assert score_day(2, dataclasses.replace(more, code_version="b")).version == 4
    assert len(lake.rows()) == 8
    meanwhile(2, "c")
    with pytest.raises(CommitConflictError, match="in conflict with this plan"):
        score_day(2, dataclasses.replace(more, code_version="d"))
    assert len(lake.rows()) == 8
    assert data_version(str(lake.table)) != again.data_version  # a report's is of its partition


@pytest.mark.promise("T61")
def test_a_partition_of_a_table_that_has_partitions_reads_its_files_alone(lake, tmp_path):  # noqa: F811
    rows = pa.table({"id": list("abc"), "a": [1.0] * 3, "b": [2.0] * 3, "ds": [1, 1, 2]})
    pq.write_to_dataset(rows, tmp_path / "parts", partition_cols=["ds"])
    report = score_table(lake.spark, str(tmp_path / "parts"), TASK, output_table=str(lake.table), model_loader=ModelLoader(lake.root), partition={"ds": "1"})  # fmt: skip
    assert (report.rows_in, report.rows_table, report.tally.filtered) == (2, 2, 0)
    assert [(row["id"], row["ds"]) for row in lake.rows()] == [("a", "1"), ("b", "1")]

"""score_table on a real session: the table equals what a plain loop gives, and work follows change."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from lone_files import lone_file

from sparktorch_assets.errors import (
    InputSchemaError,
    ModelError,
    SparktorchError,
    TaskError,
    TooManyDroppedRowsError,
    TooManyFailedRowsError,
)
from sparktorch_assets.lake.table import Table, data_version, table_version
from sparktorch_assets.lake.vacuum import vacuum
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score.table import plan_table, score_table
from sparktorch_assets.tasks import ClassificationOutput, Hooks, MlTask, ModelSpec, NumericFeature, RowFilter

TASK = MlTask(
    name="t",
    input="source",
    model=ModelSpec(factory="score_nets:linear"),
    features=[NumericFeature(columns=["a", "b"])],
    labels=["x", "y", "z"],
)


class Lake:
    """A source folder, a prediction table, and what was asked of Spark."""

    def __init__(self, root, session):
        self.root, self.source, self.table = root, root / "source", root / "table"
        self.source.mkdir()
        self.session, self.sessions_asked = session, 0
        self.progress = []

    def write(self, name, rows, group_rows=50, null_every=0):
        generator = np.random.default_rng(len(name) + rows)
        b = generator.random(rows)
        mask = np.arange(rows) % null_every == 0 if null_every else np.zeros(rows, dtype=bool)
        table = pa.table(
            {
                "id": [f"{name}-{row}" for row in range(rows)],
                "a": generator.random(rows).astype("f4"),
                "b": pa.array(b, mask=mask),
                "unused": np.arange(rows, dtype="u1"),
            }
        )
        pq.write_table(table, self.source / lone_file(name), row_group_size=group_rows)

    def spark(self):
        self.sessions_asked += 1
        return self.session

    def score(self, task=TASK, **options):
        return score_table(
            self.spark,
            str(self.source),
            task,
            output_table=str(self.table),
            model_loader=ModelLoader(models_root=self.root),
            on_progress=self.progress.append,
            **options,
        )

    def plan(self, task=TASK):
        return plan_table(str(self.source), task, output_table=str(self.table), model_loader=ModelLoader(self.root))

    def rows(self):
        return sorted(DeltaTable(str(self.table)).to_pyarrow_table().to_pylist(), key=lambda row: row["id"])

    def expected(self, seed=0):
        import torch
        from score_nets import linear

        model = linear(None, None, seed)
        found = []
        for path in sorted(self.source.glob("*.parquet")):
            for row in pq.read_table(path).to_pylist():
                with torch.no_grad():
                    shares = model(torch.tensor([[row["a"], row["b"]]], dtype=torch.float32)).softmax(1)[0]
                found.append((row["id"], "xyz"[int(shares.argmax())], float(shares.max())))
        return sorted(found)

    def check(self, seed=0):
        rows, expected = self.rows(), self.expected(seed)
        assert [(row["id"], row["predicted_class"]) for row in rows] == [row[:2] for row in expected]
        assert [row["confidence"] for row in rows] == pytest.approx([row[2] for row in expected], abs=1e-6)


@pytest.fixture(scope="module")
def session(spark):
    spark.sparkContext.addPyFile(str(Path(__file__).parent / "score_nets.py"))
    return spark


@pytest.fixture
def lake(tmp_path, session):
    return Lake(tmp_path, session)


@pytest.mark.slow
@pytest.mark.promise("T8")
def test_a_table_is_scored_then_follows_its_input(lake):
    lake.write("one", 120)
    lake.write("two", 30)
    first = lake.score(run_id="run-1")
    assert (first.version, first.changed, first.shards_new, first.rows_in, first.rows_table) == (0, True, 2, 150, 150)
    assert first.tally.predicted == first.run_tally.predicted == sum(first.tally.classes.values()) == 150
    assert first.slots == 2
    assert first.balance >= 1
    assert first.data_version == data_version(str(lake.table))
    assert {"read", "forward", "write", "load"} <= first.tally.seconds.keys()
    assert lake.progress[-1].rows_done == lake.progress[-1].rows_total == 150
    lake.check()
    assert Table(str(lake.table)).schema.names == ["id", "a", "b", "unused", *TASK_COLUMNS]
    metadata = Table(str(lake.table)).metadata
    assert (metadata["run_id"], metadata["task"], metadata["model_digest"]) == ("run-1", "t", first.model_digest)

    lake.write("three", 40)
    (lake.source / lone_file("one")).unlink()
    asked = lake.sessions_asked
    second = lake.score()
    assert (second.version, second.shards_new, second.shards_unchanged, second.shards_removed) == (1, 1, 1, 1)
    assert (second.rows_table, second.tally.predicted, second.run_tally.predicted) == (70, 70, 40)
    assert lake.sessions_asked == asked + 1
    lake.check()


TASK_COLUMNS = ["predicted_class", "confidence", "prediction_error"]


@pytest.mark.promise("T12")
def test_nothing_to_do_asks_for_no_session_and_still_reports(lake):
    lake.write("one", 60)
    first = lake.score()
    before = sorted(lake.table.rglob("*"))
    again = lake.score()
    assert lake.sessions_asked == 1
    assert (again.changed, again.version, again.shards_new, again.rows_table) == (False, 0, 0, 60)
    assert again.tally == first.tally
    assert again.scoring == first.scoring
    assert (again.scoring.rows, again.scoring.slots, again.scoring.devices) == (60, 2, ("cpu",))
    assert again.scoring.rows_per_s == first.rows_per_s > 0
    assert again.data_version == first.data_version
    assert sorted(lake.table.rglob("*")) == before


@pytest.mark.promise("T9")
def test_rows_that_only_go_need_no_session(lake):
    lake.write("one", 60)
    lake.write("two", 60)
    first = lake.score()
    (lake.source / lone_file("two")).unlink()
    second = lake.score()
    assert second.rows_table == 60
    assert second.scoring == lake.score().scoring == first.scoring, "kept over a commit that scored nothing"
    assert lake.sessions_asked == 1
    lake.check()


def test_an_empty_input_gives_an_empty_table_without_a_session(lake):
    lake.write("none", 0)
    report = lake.score()
    assert (lake.sessions_asked, report.version, report.rows_table) == (0, 0, 0)
    assert Table(str(lake.table)).schema.names[-3:] == TASK_COLUMNS
    assert lake.rows() == []


@pytest.mark.parametrize(
    "change",
    [
        {"model": ModelSpec(factory="score_nets:linear", arguments={"seed": 1})},
        {"labels": ["x", "y", "w"]},
        {"features": [NumericFeature(columns=["b", "a"])]},
        {"hooks": Hooks(row_postprocessor="json:dumps")},
        {"output": ClassificationOutput(scores=True)},
        {"code_version": "2"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_predictions_plans_everything_anew(lake, change):
    lake.write("one", 120)
    lake.score()
    assert lake.plan().new == ()
    plan = lake.plan(dataclasses.replace(TASK, **change))
    assert (len(plan.new), len(plan.obsolete)) == (1, 1)


@pytest.mark.parametrize(
    "change", [{"description": "?"}, {"max_failed_share": 0.5}, {"preview_rows": 0}, {"cron": "0 3 * * *"}]
)
def test_whatever_does_not_change_predictions_plans_nothing(lake, change):
    lake.write("one", 120)
    lake.score()
    assert not lake.plan(dataclasses.replace(TASK, **change)).changes


@pytest.mark.promise("T58")
def test_new_weights_and_a_new_column_replace_all_rows(lake):
    lake.write("one", 120)
    lake.score()
    report = lake.score(
        dataclasses.replace(
            TASK,
            model=ModelSpec(factory="score_nets:linear", arguments={"seed": 1}),
            output=ClassificationOutput(scores=True),
        )
    )
    assert (report.version, report.shards_new, report.shards_removed) == (1, 1, 1)
    assert report.data_version == data_version(str(lake.table))
    lake.check(seed=1)
    assert [max(row["scores"]) for row in lake.rows()] == pytest.approx([row["confidence"] for row in lake.rows()])


@pytest.mark.slow
def test_a_killed_worker_costs_its_shard_and_not_the_run(lake):
    for number in range(4):
        lake.write(f"file{number}", 30)
    marker = lake.root.parent / f"{lake.root.name}-died"  # outside of the models root, where files count as the model's
    task = dataclasses.replace(TASK, model=ModelSpec(factory="score_nets:dies_once", arguments={"marker": str(marker)}))
    report = lake.score(task)
    assert marker.exists()
    assert (report.rows_table, report.tally.predicted) == (120, 120)
    assert len(lake.rows()) == 120
    # A process that is killed cannot clear away its temporary file; a vacuum can.
    vacuum(str(lake.table), retention_hours=0)
    assert not list(lake.table.glob(".*"))
    assert len(lake.rows()) == 120


def test_a_model_that_does_not_fit_is_named_by_its_own_error(lake):
    lake.write("one", 30)
    with pytest.raises(SparktorchError, match=r"logits of shape \(30, 7\) for 30 rows and 3 labels") as caught:
        lake.score(dataclasses.replace(TASK, model=ModelSpec(factory="score_nets:wrong_shape")))
    assert not isinstance(caught.value, TooManyFailedRowsError)
    assert "Py4J" not in str(caught.value)
    assert len(str(caught.value).splitlines()) < 5
    assert table_version(str(lake.table)) is None


def test_a_missing_model_stops_before_any_session(lake):
    lake.write("one", 30)
    with pytest.raises(ModelError, match="there is no file"):
        lake.score(dataclasses.replace(TASK, model=ModelSpec(weights="gone.ts", trust_code=True)))
    assert lake.sessions_asked == 0


@pytest.mark.promise("T17", "M58")
def test_too_many_failed_rows_commit_nothing_and_are_kept_for_a_higher_limit(lake):
    lake.write("one", 100, null_every=10)
    with pytest.raises(TooManyFailedRowsError, match=r"10 of 100 rows failed \(10.00%\), over max_failed_share=0.01"):
        lake.score()
    assert table_version(str(lake.table)) is None
    report = lake.score(dataclasses.replace(TASK, max_failed_share=0.2))
    assert (report.shards_new, report.shards_resumed, report.tally.failed) == (0, 1, 10)
    assert lake.sessions_asked == 1
    assert len([row for row in lake.rows() if row["prediction_error"] is not None]) == 10


@pytest.mark.promise("M61")
def test_a_hook_that_forgets_to_return_the_row_commits_nothing(lake):
    lake.write("one", 100)
    forgetful = dataclasses.replace(TASK, hooks=Hooks(row_postprocessor="score_nets:forgets_return"))
    with pytest.raises(TooManyDroppedRowsError, match=r"100 of 100 rows \(100.00%\).*forget to return the row"):
        lake.score(forgetful)
    assert table_version(str(lake.table)) is None
    report = lake.score(dataclasses.replace(forgetful, max_dropped_share=1.0))
    assert (report.shards_resumed, report.rows_table, report.tally.dropped) == (1, 0, 100)


def test_filtered_and_narrowed_tables_account_for_every_row(lake):
    lake.write("one", 120)
    task = dataclasses.replace(TASK, where=[RowFilter(column="unused", op="<", value=20)], keep_columns=["id"])
    report = lake.score(task)
    assert (report.rows_in, report.rows_table, report.tally.filtered) == (120, 20, 100)
    assert Table(str(lake.table)).schema.names == ["id", *TASK_COLUMNS]
    nothing = lake.score(dataclasses.replace(task, where=[RowFilter(column="unused", op="<", value=0)]))
    assert (nothing.rows_table, lake.rows()) == (0, [])


def test_a_file_without_a_kept_column_gives_nulls(lake):
    lake.write("one", 20)
    lake.write("two", 20)
    narrow = pq.read_table(lake.source / lone_file("two")).drop_columns(["unused"])
    pq.write_table(narrow, lake.source / lone_file("two"))
    lake.score()
    lake.check()
    assert len([row for row in lake.rows() if row["unused"] is None]) == 20


def test_a_wrong_input_stops_before_any_session(lake):
    lake.write("one", 5)
    with pytest.raises(InputSchemaError, match="needs column 'c'"):
        lake.score(dataclasses.replace(TASK, features=[NumericFeature(columns=["c"])]))
    with pytest.raises(TaskError, match="same table"):
        score_table(lake.spark, str(lake.source), TASK, output_table=f"{lake.source}/", model_loader=ModelLoader())
    assert lake.sessions_asked == 0


def test_two_tasks_with_one_output_are_named(lake, caplog):
    """They replace each other's rows at every run."""
    lake.write("one", 20)
    lake.score()
    other = dataclasses.replace(TASK, name="other")
    lake.score(other)  # the same but for its name: there is nothing to replace
    assert "was last made by" not in caplog.text
    lake.score(dataclasses.replace(other, output_prefix="o_"))
    assert f"was last made by task {TASK.name!r}, and task 'other' replaces" in caplog.text


@pytest.mark.promise("T79")
def test_an_output_inside_its_input_is_refused(lake, tmp_path):
    """Unless the input's log tells which files are its rows."""
    lake.write("one", 5)
    inside = f"{lake.source}/../{lake.source.name}/predictions"
    with pytest.raises(TaskError, match="lies in the folder of files .* that is the input"):
        plan_table(str(lake.source), TASK, output_table=inside, model_loader=ModelLoader())
    (tmp_path / "link").symlink_to(lake.source)
    with pytest.raises(TaskError, match="lies in the folder"):
        plan_table(str(tmp_path / "link"), TASK, output_table=inside, model_loader=ModelLoader())
    beside = f"{lake.source}-predictions"
    assert plan_table(str(lake.source), TASK, output_table=beside, model_loader=ModelLoader()).new
    write_deltalake(tmp_path / "delta", pq.read_table(lake.source))
    delta, within = str(tmp_path / "delta"), str(tmp_path / "delta" / "predictions")
    assert plan_table(delta, TASK, output_table=within, model_loader=ModelLoader()).new


@pytest.mark.promise("T12")
def test_planning_loads_neither_torch_nor_pyspark(tmp_path):
    import subprocess

    code = (
        "import sys, sparktorch_assets.spark.score.table; assert not {'torch', 'pyspark'} & set(sys.modules), 'loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_progress_callback_that_fails_does_not_stop_the_run(lake):
    lake.write("one", 30)

    def fails(progress):
        raise ValueError(progress)

    lake.progress = type("P", (), {"append": staticmethod(fails)})
    assert lake.score().rows_table == 30


def test_preview_shows_predictions(lake):
    lake.write("one", 30)
    lake.score()
    assert [row["id"] for row in Table(str(lake.table)).preview(2)] == ["one-0", "one-1"]

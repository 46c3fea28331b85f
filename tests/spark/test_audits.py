"""Write, audit, publish: what a failed check leaves behind, and what it costs to publish all the same. Without a JVM."""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jobs_here import JobsHere

from sparktorch_assets.audit.task_audit import recorded_outcomes
from sparktorch_assets.errors import (
    AuditFailedError,
    HookError,
    InputSchemaError,
    ModelError,
    PartitionsRefusedError,
    SparktorchError,
    TaskError,
)
from sparktorch_assets.lake.table import Table
from sparktorch_assets.predict.frame import predict_frame
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score.dataframe import score_dataframe
from sparktorch_assets.spark.score.partitions import score_partitions
from sparktorch_assets.spark.score.table import plan_table, score_table
from sparktorch_assets.tasks import (
    AuditPolicy,
    EmbeddingOutput,
    Hooks,
    MlTask,
    ModelSpec,
    NumericFeature,
    RegressionOutput,
    RowFilter,
    SlotPolicy,
    StaticPartitions,
)


class Jobs(JobsHere):
    """Counts what it is asked to run."""

    def __init__(self):
        super().__init__()
        self.jobs = 0

    def collect(self):
        self.jobs += 1
        return super().collect()


class World:
    """An input of a hundred rows, and a task over it whose weights file holds a seed."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "models").mkdir()
        self.weights(1)
        self.rows(100)
        self.spark = Jobs()
        self.uri = str(folder / "out")

    def weights(self, seed):
        (self.folder / "models" / "seed.txt").write_text(str(seed))

    def rows(self, number):
        x = [2 * place / 99 - 1 for place in range(number)]
        pq.write_table(
            pa.table({"x": x, "y": x[::-1], "id": range(number)}), self.folder / "in.parquet", row_group_size=25
        )

    def task(self, audit=None, **more):
        given = {
            "name": "t",
            "model": ModelSpec(weights="seed.txt", factory="score_nets:from_file", trust_code=True),
            "features": [NumericFeature(columns=["x", "y"])],
            "labels": ["a", "b", "c"],
            "audit": AuditPolicy(**(audit or {})),
        }
        return MlTask(**given | more)

    def loader(self):
        return ModelLoader(self.folder / "models")

    def score(self, task, **more):
        return score_table(
            self.spark,
            str(self.folder / "in.parquet"),
            task,
            output_table=self.uri,
            model_loader=self.loader(),
            slots=SlotPolicy(device="cpu"),
            **more,
        )

    def canaries(self, task, rows=4, **columns):
        """A file of rows with the answers of the present model, or with those that are given."""
        frame = pq.read_table(self.folder / "in.parquet").slice(0, rows).to_pandas()
        found = predict_frame(frame, task, model_loader=self.loader())
        answers = {"predicted_class": found["predicted_class"].tolist()} | columns
        pq.write_table(
            pa.table({name: frame[name].tolist() for name in frame} | answers),
            self.folder / "models" / "canaries.parquet",
        )

    def files(self):
        """The content of every file of the table."""
        paths = sorted(path for path in Path(self.uri).rglob("*") if path.is_file())
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    def log(self):
        return {path: content for path, content in self.files().items() if "_delta_log" in path}


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return World(tmp_path)


CANARIES = {"canaries": "canaries.parquet"}


@pytest.mark.promise("O80", "O81", "O82")
def test_a_refused_publication_changes_nothing_and_costs_nothing_twice(world):
    """The table's log and parts are the same bytes; the new parts are there, and publishing them starts no session."""
    task = world.task({"max_class_share_distance": 0.1})
    first = world.score(task)
    before, published = world.files(), Table(world.uri).files
    world.weights(5)
    with pytest.raises(AuditFailedError, match=r"class_share_distance is .* Readers still see version 0") as caught:
        world.score(task)
    after = world.files()
    assert {path: after[path] for path in before} == before
    assert world.log() == {path: content for path, content in before.items() if "_delta_log" in path}
    assert [part.path for part in Table(world.uri).files] == [part.path for part in published]
    new = set(after) - set(before)
    assert new
    assert {Path(path).suffix for path in new} == {".parquet"}
    assert {outcome.check for outcome in caught.value.outcomes if not outcome.passed} == {"class_share_distance"}

    jobs = world.spark.jobs
    report = world.score(task, publish_despite=["class_share_distance"])
    assert (report.version, report.changed, report.run_tally.rows) == (first.version + 1, True, 0)
    assert (report.shards_new, report.shards_resumed, world.spark.jobs) == (0, 1, jobs)
    (overruled,) = [outcome for outcome in report.audits if outcome.overruled]
    assert overruled.check == "class_share_distance"
    assert recorded_outcomes(Table(world.uri).metadata, "") == report.audits


@pytest.mark.promise("O83")
def test_a_raised_limit_publishes_what_was_refused(world):
    world.score(world.task())
    world.weights(5)
    with pytest.raises(AuditFailedError):
        world.score(world.task({"max_class_share_distance": 0.1}))
    report = world.score(world.task({"max_class_share_distance": 1.0}))
    assert (report.changed, report.run_tally.rows) == (True, 0)
    assert not [outcome for outcome in report.audits if not outcome.passed]


def test_a_run_with_nothing_to_do_reports_what_the_last_one_found(world):
    task = world.task({"max_class_share_psi": 0.1, "min_rows": 5})
    first = world.score(task)
    again = world.score(task)
    assert again.changed is False
    assert again.audits == first.audits
    assert {outcome.check for outcome in again.audits} >= {"class_share_psi", "min_rows", "classes_within_labels"}


@pytest.mark.promise("O84")
@pytest.mark.parametrize(
    ("more", "check"),
    [
        ({"output": RegressionOutput(names=["a", "b", "c"], maximum=-100.0)}, "values_in_range"),
        ({"output": EmbeddingOutput(length=3)}, "vectors_differ"),
    ],
)
def test_what_the_kind_of_output_forbids_is_never_published(world, more, check, monkeypatch):
    """Numbers outside their range, vectors that carry nothing: once a red mark after the fact."""
    factory = "score_nets:from_file" if check == "values_in_range" else "score_nets:same_numbers"
    task = world.task(labels=(), model=ModelSpec(weights="seed.txt", factory=factory, trust_code=True), **more)
    with pytest.raises(AuditFailedError, match=rf"There is still no table.*publish_despite=\['{check}'\]"):
        world.score(task)
    assert Table(world.uri).version is None
    report = world.score(task, publish_despite=[check])
    assert (report.version, report.run_tally.rows) == (0, 0)


@pytest.mark.promise("O85")
def test_a_swapped_model_fails_the_canaries_before_any_shard_is_scored(world):
    task = world.task(CANARIES)
    world.canaries(task)
    world.score(task)
    before, jobs = world.files(), world.spark.jobs
    world.weights(5)
    with pytest.raises(
        AuditFailedError,
        match=r"nothing was scored.*the model answers \d of 4 canaries otherwise than canaries.parquet says \(row \d: predicted_class is '.', expected '.'",
    ):
        world.score(task)
    assert world.files() == before
    assert world.spark.jobs == jobs + 1


@pytest.mark.promise("O87")
def test_a_model_answers_the_canaries_once(world):
    """Not for new rows of the same model; again for new weights, and for other canaries."""
    task = world.task(CANARIES)
    world.canaries(task)
    world.score(task)
    assert world.spark.jobs == 2
    world.rows(120)
    report = world.score(task)
    assert (world.spark.jobs, report.changed) == (3, True)
    world.canaries(task, rows=5)
    world.rows(130)
    world.score(task)
    assert world.spark.jobs == 5


def test_canaries_can_be_overruled_and_are_asked_again(world):
    task = world.task(CANARIES)
    world.canaries(task, predicted_class=["none"] * 4)
    report = world.score(task, publish_despite=["canaries"])
    assert next((outcome.check, outcome.overruled) for outcome in report.audits) == ("canaries", True)
    world.rows(120)
    with pytest.raises(AuditFailedError, match="4 of 4 canaries"):
        world.score(task)


def test_what_was_refused_is_not_published_by_a_model_that_no_canary_has_seen(world):
    """Canaries that are added between the two runs count, although there is nothing left to score."""
    with pytest.raises(AuditFailedError):
        world.score(world.task({"min_rows": 1_000}))
    world.canaries(world.task(), predicted_class=["none"] * 4)
    with pytest.raises(AuditFailedError, match="4 of 4 canaries"):
        world.score(world.task(CANARIES))
    assert Table(world.uri).version is None


@pytest.mark.promise("O149")
@pytest.mark.parametrize(("off", "ok"), [(5e-4, True), (5e-3, False)])
def test_numbers_of_canaries_may_differ_by_the_tolerance(world, off, ok):
    found = predict_frame(
        pq.read_table(world.folder / "in.parquet").to_pandas(), world.task(), model_loader=world.loader()
    )
    task = world.task(CANARIES)
    world.canaries(task, confidence=[float(value) + off for value in found["confidence"][:4]])
    if ok:
        world.score(task)
    else:
        with pytest.raises(AuditFailedError, match="row 0: confidence is"):
            world.score(task)


@pytest.mark.promise("O86")
def test_canaries_are_predicted_whatever_where_says_and_keep_what_they_have(world):
    task = world.task(CANARIES, where=[RowFilter(column="id", op=">", value=50)], keep_columns=["id"])
    world.canaries(world.task())
    path = world.folder / "models" / "canaries.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["id"]), path)
    report = world.score(task)
    assert next(outcome for outcome in report.audits if outcome.check == "canaries").details["wrong"] == 0


@pytest.mark.promise("O149")
def test_contents_of_canaries_are_not_shown_where_the_task_shows_none(world):
    task = world.task(CANARIES, preview_rows=0)
    world.canaries(task, predicted_class=["secret"] * 4)
    with pytest.raises(AuditFailedError, match=r"\(row 0: predicted_class, row 1") as caught:
        world.score(task)
    assert "secret" not in str(caught.value)


def test_a_dropped_canary_is_a_wrong_answer(world):
    task = world.task(CANARIES, hooks=Hooks(row_postprocessor="score_nets:drop_first"))
    world.canaries(world.task())
    with pytest.raises(AuditFailedError, match="hooks dropped 1 of the 4 canaries"):
        world.score(task)


@pytest.mark.parametrize(
    ("table", "kind", "text"),
    [
        (None, ModelError, "canaries.parquet"),
        ({"x": [1.0], "y": [1.0]}, TaskError, r"holds no expected values; .* \(predicted_class, confidence"),
        ({"x": [1.0], "predicted_class": ["a"]}, InputSchemaError, "features needs column 'y'"),
        ({"x": [], "y": [], "predicted_class": []}, TaskError, "has 0 rows; give from 1 to 10,000"),
        ("no parquet", ModelError, "cannot be read as a Parquet file"),
    ],
)
def test_a_file_of_canaries_that_cannot_be_used_is_named(world, table, kind, text):
    path = world.folder / "models" / "canaries.parquet"
    if isinstance(table, dict):
        pq.write_table(pa.table(table), path)
    elif table is not None:
        path.write_text(table)
    with pytest.raises(kind, match=text):
        world.score(world.task(CANARIES))
    assert not Path(world.uri).exists()


def test_an_error_while_canaries_are_predicted_keeps_its_type(world):
    task = world.task(CANARIES, hooks=Hooks(batch_preprocessor="score_nets:forgets_return"))
    world.canaries(world.task())
    with pytest.raises(HookError, match="predicting the canaries"):
        world.score(task)


@pytest.mark.promise("O88")
def test_a_model_that_is_not_allowed_scores_nothing(world):
    digest = world.score(world.task()).model_digest
    before = world.files()
    world.weights(5)
    with pytest.raises(AuditFailedError, match=r"nothing was scored.*audit\.allowed_models does not list"):
        world.score(world.task({"allowed_models": [digest]}))
    assert world.files() == before
    world.weights(1)
    world.rows(120)
    assert world.score(world.task({"allowed_models": [digest]})).changed


def test_partitions_are_audited_one_by_one(world):
    """A partition whose shares differ from those before it is refused, and the others stay as they are."""
    rows = [("1", 1.0), ("2", 1.0), ("3", -1.0)]
    table = pa.table({"ds": [ds for ds, _ in rows for _ in range(20)], "x": [x for _, x in rows for _ in range(20)]})
    pq.write_table(table.append_column("y", table["x"]), world.folder / "in.parquet")
    task = world.task({"max_class_share_distance": 0.2})
    for ds in ("1", "2"):
        world.score(task, partition={"ds": ds})
    with pytest.raises(AuditFailedError, match=r"ds=3 was not published.*compared with ds=2, ds=1"):
        world.score(task, partition={"ds": "3"})
    assert Table(world.uri).version == 1
    report = world.score(task, partition={"ds": "3"}, publish_despite=["class_share_distance"])
    assert (report.version, report.run_tally.rows) == (2, 0)
    assert recorded_outcomes(Table(world.uri).metadata, "ds=3") == report.audits


def days(world, *classes):
    """An input with as many days, each of one class only, and the partitions that the days are."""
    rows = [(f"{day}", x) for day, x in enumerate(classes, 1) for _ in range(20)]
    table = pa.table({"ds": [ds for ds, _ in rows], "x": [x for _, x in rows], "y": [x for _, x in rows]})
    pq.write_table(table, world.folder / "in.parquet")
    found = StaticPartitions(column="ds", values=[f"{day}" for day, _ in enumerate(classes, 1)])
    return found.table_partitions(found.keys, {"ds": "string"}, "test")


def score_days(world, task, partitions, **more):
    return score_partitions(
        world.spark,
        str(world.folder / "in.parquet"),
        task,
        output_table=world.uri,
        model_loader=world.loader(),
        slots=SlotPolicy(device="cpu"),
        partitions=partitions,
        **more,
    )


@pytest.mark.promise("O141")
def test_partitions_are_compared_in_the_order_of_their_values_whatever_the_order_of_the_run(world):
    partitions = days(world, 1.0, 1.0, -1.0)
    with pytest.raises(PartitionsRefusedError) as caught:
        score_days(world, world.task({"max_class_share_distance": 0.2}), partitions[::-1])
    assert set(caught.value.refused) == {"3"}


@pytest.mark.promise("O141")
def test_nothing_is_compared_with_what_the_callers_own_audit_refused(world):
    """Nor is anything recorded of it."""
    partitions = days(world, -1.0, 1.0)

    def refuse_the_first(publication):
        if dict(publication.partition)["ds"] == "1":
            raise SparktorchError("not this one")

    with pytest.raises(PartitionsRefusedError) as caught:
        score_days(world, world.task({"max_class_share_distance": 0.2}), partitions, audit=refuse_the_first)
    assert set(caught.value.refused) == {"1"}
    assert recorded_outcomes(Table(world.uri).metadata, "ds=1") == ()


def test_what_the_checks_found_is_reported_until_the_next_publication_of_the_partition(world):
    """Commits of other partitions do not hide that a check was overruled."""
    first, second, third = days(world, 1.0, -1.0, 1.0)
    task = world.task({"max_class_share_distance": 0.2})
    score_days(world, task, [first])
    (overruled,) = score_days(world, task, [second], publish_despite=["class_share_distance"])
    assert any(outcome.overruled for outcome in overruled.audits)
    score_days(world, task, [third], publish_despite=["class_share_distance"])
    again = score_days(world, task, [first, second])
    assert not any(report.changed for report in again)
    assert again[1].audits == overruled.audits


@pytest.mark.promise("O89")
def test_no_part_is_scored_again_when_an_audit_is_edited(world):
    world.score(world.task())
    world.canaries(world.task())
    edited = world.task({"max_class_share_psi": 0.1, "min_rows": 3, "history": 2, **CANARIES})
    plan = plan_table(str(world.folder / "in.parquet"), edited, output_table=world.uri, model_loader=world.loader())
    assert not plan.changes


def test_what_was_found_is_json_in_the_commit(world):
    world.score(world.task({"min_rows": 1}))
    recorded = json.loads(Table(world.uri).metadata["audit"])
    assert [outcome["check"] for outcome in recorded[""]] == [
        "confidence_in_range",
        "classes_within_labels",
        "min_rows",
    ]


@pytest.mark.slow
def test_a_real_session_is_asked_canaries_and_audited_by_both_verbs(world, spark):
    """Through the JVM and Spark's workers; `score_dataframe` keeps no parts of what it refuses."""
    spark.sparkContext.addPyFile(str(Path(__file__).with_name("score_nets.py")))
    world.spark = spark
    task = world.task({**CANARIES, "min_rows": 50})
    world.canaries(world.task(), predicted_class=["none"] * 4)
    with pytest.raises(AuditFailedError, match="4 of 4 canaries"):
        world.score(task)
    world.canaries(world.task())
    assert {outcome.check for outcome in world.score(task).audits} >= {"canaries", "min_rows"}

    data = spark.read.parquet(str(world.folder / "in.parquet")).limit(10)
    options = {
        "output_table": str(world.folder / "other"),
        "model_loader": world.loader(),
        "slots": SlotPolicy(device="cpu"),
    }
    with pytest.raises(AuditFailedError, match=r"10 rows are fewer than min_rows=50.*the predictions are lost"):
        score_dataframe(spark, data, task, **options)
    assert Table(options["output_table"]).version is None
    report = score_dataframe(spark, data, task, **options, publish_despite=["min_rows"])
    assert [outcome.check for outcome in report.audits if outcome.overruled] == ["min_rows"]
    assert recorded_outcomes(Table(options["output_table"]).metadata, "") == report.audits

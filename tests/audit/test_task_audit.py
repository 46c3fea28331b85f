"""What a run would publish is refused if a check fails, unless somebody says otherwise; without files of parts."""

import json
import sys
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest

from sparktorch_assets.audit.statistics import Statistics
from sparktorch_assets.audit.task_audit import AUDIT_KEY, TaskAudit, recorded_outcomes
from sparktorch_assets.errors import AuditFailedError, TaskError
from sparktorch_assets.lake.log.commit import commit_parts
from sparktorch_assets.lake.log.snapshot import data_version_of
from sparktorch_assets.lake.parts.writer import PartWriter
from sparktorch_assets.lake.publication import Publication, Published, published_metadata
from sparktorch_assets.lake.table import Table
from sparktorch_assets.predict.outputs.numbers import summary
from sparktorch_assets.tally import CONFIDENCE_BINS, Tally
from sparktorch_assets.tasks import AuditPolicy, MlTask, ModelSpec, NumericFeature, RegressionOutput

SCHEMA = pa.schema([("id", pa.int64())])


def a_task(output=None, **audit):
    given = {"labels": ["no", "yes"]} if output is None else {"output": output}
    return MlTask(
        name="t",
        model=ModelSpec(factory="m:f"),
        features=[NumericFeature(columns=["x"])],
        audit=AuditPolicy(**audit),
        **given,
    )


def tally(no=50, yes=50, failed=0, place=15, **more):
    histogram = [0] * CONFIDENCE_BINS
    histogram[place] = no + yes
    return Tally(
        rows=no + yes + failed,
        predicted=no + yes,
        failed=failed,
        classes={"no": no, "yes": yes},
        confidence_histogram=histogram,
        confidence_sum=0.78 * (no + yes),
        **more,
    )


class World:
    """A table whose commits record tallies, as those of `score_table` do."""

    def __init__(self, folder):
        self.uri = str(folder / "table")
        self._commits = 0

    def publish(self, published, ds=None):
        """Commit one row, and record that tally, for the whole table or for a partition."""
        table = Table(self.uri)
        partition = () if ds is None else (("ds", ds),)
        schema = SCHEMA if ds is None else SCHEMA.append(pa.field("ds", pa.string()))
        self._commits += 1
        table.folder.create()
        rows = pa.RecordBatch.from_pydict({"id": [1]})
        with PartWriter(table.folder, f"{self._commits:032x}", SCHEMA, partition=partition) as writer:
            writer.write(rows)
            part, _ = writer.finish(published)
        version = data_version_of([part.path], schema)
        commit_parts(
            self.uri,
            schema,
            add=[part],
            remove=list(table.snapshot.by_partition().get(partition, {})),
            metadata=published_metadata([Published(partition=partition, tally=published, data_version=version)]),
            read_version=table.version,
            partitions=[partition],
        )

    def about_to_publish(self, found, ds=None):
        return Publication(
            table=Table(self.uri),
            partition=() if ds is None else (("ds", ds),),
            schema=SCHEMA,
            tally=found,
            rows_in=found.rows,
            parts={},
        )


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def audit_of(task, despite=()):
    audit = TaskAudit(task, despite)
    audit.begin("a" * 64)
    return audit


def outcomes(audit, folder=""):
    return {outcome.check: outcome for outcome in audit.found[folder]}


def test_a_task_without_an_audit_publishes_what_its_output_allows(world):
    audit = audit_of(a_task())
    audit(world.about_to_publish(tally()))
    assert set(outcomes(audit)) == {"confidence_in_range", "classes_within_labels"}


def test_a_class_that_no_label_names_is_not_published(world):
    found = replace_classes(tally(), {"no": 50, "perhaps": 50})
    with pytest.raises(
        AuditFailedError, match=r"the table was not published.*unknown classes: perhaps.*classes_within_labels"
    ):
        audit_of(a_task())(world.about_to_publish(found))


def replace_classes(found, classes):
    return Tally.from_plain({**found.to_plain(), "classes": classes})


@pytest.mark.promise("O141")
def test_without_an_earlier_publication_drift_passes_and_says_so(world):
    audit = audit_of(a_task(max_class_share_psi=0.0, max_confidence_distance=0.0))
    audit(world.about_to_publish(tally(no=1, yes=99)))
    assert outcomes(audit)["class_share_psi"].details["compared with"] == "no earlier publication"


@pytest.mark.promise("O140", "O148")
@pytest.mark.parametrize(
    ("limits", "drifted", "text"),
    [
        ({"max_class_share_psi": 0.2}, tally(no=10, yes=90), r"class_share_psi is 0\.853.*no 50\.0% -> 10\.0%, yes 50\.0% -> 90\.0%"),
        ({"max_class_share_distance": 0.3}, tally(no=10, yes=90), r"class_share_distance is 0\.4, over max_class_share_distance=0\.3"),
        ({"max_confidence_psi": 0.2}, tally(place=3), r"confidence_psi is .*confidence 0\.15-0\.20 0\.0% -> 100\.0%"),
        ({"max_confidence_distance": 0.9}, tally(place=3), "confidence_distance is 1, over"),
        ({"max_null_share": 0.1}, tally(no=40, yes=40, failed=20), r"20 of 100 rows have no prediction \(20\.00%\), over max_null_share=0\.1"),
        ({"min_rows": 100}, tally(no=49), "99 rows are fewer than min_rows=100"),
    ],
)  # fmt: skip
def test_each_limit_refuses_what_is_over_it_and_nothing_else(world, limits, drifted, text):
    world.publish(tally())
    (check,) = a_task(**limits).audit.names
    audit_of(a_task(**limits))(world.about_to_publish(tally()))
    with pytest.raises(AuditFailedError, match=text) as caught:
        audit_of(a_task(**limits))(world.about_to_publish(drifted))
    assert [found.check for found in caught.value.outcomes if not found.passed] == [check]
    assert f"publish_despite=['{check}']" in str(caught.value)
    assert "Readers still see version 0, and the finished parts are kept" in str(caught.value)


def test_numbers_drift_by_the_column_that_moved_most(world):
    task = a_task(RegressionOutput(names=["a", "b"]), max_number_psi=0.25, max_number_distance=0.9)
    draws = np.random.default_rng(0)

    def numbers(shift):
        found = {
            name: summary(draws.normal(by, 1, 5_000)) for name, by in (("predicted_a", 50), ("predicted_b", 50 + shift))
        }
        return Tally(rows=5_000, predicted=5_000, numbers=found)

    world.publish(numbers(0))
    audit_of(task)(world.about_to_publish(numbers(0.1)))
    with pytest.raises(AuditFailedError, match=r"1 of 2 checks failed: number_psi is .*predicted_b, bin "):
        audit_of(task)(world.about_to_publish(numbers(1)))


@pytest.mark.promise("O148")
def test_rows_whose_number_is_nan_are_rows_without_a_prediction(world):
    """A network that gives only NaN leaves no statistics of numbers at all."""
    task = a_task(RegressionOutput(), max_null_share=0.5)
    with pytest.raises(AuditFailedError, match=r"10 of 10 rows have no prediction"):
        audit_of(task)(world.about_to_publish(Tally(rows=10, predicted=10)))


@pytest.mark.promise("O141")
@pytest.mark.parametrize(("history", "refused"), [(1, True), (2, False), (9, False)])
def test_drift_is_measured_from_the_last_publications_together(world, history, refused):
    for found in (tally(no=90, yes=10), tally(no=10, yes=90)):
        world.publish(found)
    audit = audit_of(a_task(max_class_share_distance=0.1, history=history))
    publication = world.about_to_publish(tally())
    if refused:
        with pytest.raises(AuditFailedError, match="compared with the publication before"):
            audit(publication)
    else:
        audit(publication)
        assert outcomes(audit)["class_share_distance"].details["compared with"] == "the last 2 publications"


@pytest.mark.promise("O141")
def test_a_partition_is_compared_with_itself_and_with_those_before_it(world):
    """Not with those after it, which a backfill in another order has published already."""
    for ds, found in (("1", tally(no=90, yes=10)), ("9", tally()), ("10", tally()), ("11", tally(no=5, yes=95))):
        world.publish(found, ds)
    task = a_task(max_class_share_distance=0.1, history=2)
    audit = audit_of(task)
    audit(world.about_to_publish(tally(), "10"))
    assert outcomes(audit, "ds=10")["class_share_distance"].details["compared with"] == "ds=10, ds=9"
    world.publish(tally(no=20, yes=80), "10")
    with pytest.raises(AuditFailedError, match=r"ds=10 was not published.*compared with ds=10: "):
        audit_of(task)(world.about_to_publish(tally(no=80, yes=20), "10"))


@pytest.mark.promise("O141")
def test_partitions_of_one_commit_are_compared_with_each_other_in_their_order(world):
    """The first backfill of a year: a refused month is no yardstick for the next one."""
    audit = audit_of(a_task(max_class_share_distance=0.1))
    audit(world.about_to_publish(tally(), "2013-01-01"))
    with pytest.raises(AuditFailedError, match="ds=2013-02-01 was not published.*compared with ds=2013-01-01"):
        audit(world.about_to_publish(tally(no=90, yes=10), "2013-02-01"))
    audit(world.about_to_publish(tally(), "2013-03-01"))
    assert set(audit.found) == {"ds=2013-01-01", "ds=2013-03-01"}
    assert json.loads(audit.recorded[AUDIT_KEY]).keys() == audit.found.keys()


def test_partitions_that_were_published_long_ago_are_compared_with_as_well(world, monkeypatch):
    """Beyond the commits that are looked at for publications."""
    world.publish(tally(no=90, yes=10), "1")
    monkeypatch.setattr("sparktorch_assets.audit.history.KEPT_COMMITS", 0)
    with pytest.raises(AuditFailedError, match="compared with ds=1"):
        audit_of(a_task(max_class_share_distance=0.1))(world.about_to_publish(tally(), "2"))


def test_after_a_lost_race_nothing_of_the_first_attempt_counts(world):
    """Another writer's commit may have made a conflict of a partition that had passed."""
    audit = audit_of(a_task())
    audit(world.about_to_publish(tally(), "1"))
    world.publish(tally(), "7")
    audit(world.about_to_publish(tally(), "2"))
    assert set(audit.found) == set(json.loads(audit.recorded[AUDIT_KEY])) == {"ds=2"}


def test_what_is_published_despite_a_failed_check_is_recorded(world):
    world.publish(tally())
    audit = audit_of(a_task(max_class_share_psi=0.1, min_rows=10), ["class_share_psi", "min_rows"])
    audit(world.about_to_publish(tally(no=10, yes=90)))
    found = outcomes(audit)
    assert (found["class_share_psi"].passed, found["class_share_psi"].overruled) == (False, True)
    assert (found["min_rows"].passed, found["min_rows"].overruled) == (True, False)
    assert recorded_outcomes(audit.recorded, "") == audit.found[""]
    assert recorded_outcomes(audit.recorded, "ds=1") == ()


def test_only_what_is_named_is_overruled(world):
    world.publish(tally())
    audit = audit_of(a_task(max_class_share_psi=0.1, min_rows=1_000), ["class_share_psi"])
    with pytest.raises(AuditFailedError, match=r"publish_despite=\['min_rows'\]"):
        audit(world.about_to_publish(tally(no=10, yes=90)))


@pytest.mark.promise("O147")
def test_a_name_that_no_check_has_is_refused():
    with pytest.raises(TaskError, match=r"publish_despite names 'class_share_pis', .*did you mean 'class_share_psi'"):
        TaskAudit(a_task(max_class_share_psi=0.1), ["class_share_pis"])
    with pytest.raises(TaskError, match=r"publish_despite='min_rows' stands alone; write a list"):
        TaskAudit(a_task(min_rows=1), "min_rows")


def test_another_model_than_the_allowed_ones_is_refused_before_anything_is_scored():
    task = a_task(allowed_models=["b" * 64])
    with pytest.raises(
        AuditFailedError, match=rf"nothing was scored.*the model's digest is {'a' * 64}, which audit.allowed_models"
    ):
        audit_of(task)
    audit = TaskAudit(task)
    audit.begin("b" * 64)
    assert audit_of(task, ["allowed_models"]) is not None


@pytest.mark.parametrize("key", ["{", "[]", '{"": [{"unknown": 1}]}', '{"": 3}'])
def test_a_commit_of_another_version_says_nothing(key):
    assert recorded_outcomes({AUDIT_KEY: key}, "") == ()


@pytest.fixture
def own(monkeypatch):
    """A module of the user's own."""
    module = ModuleType("own_audits")
    monkeypatch.setitem(sys.modules, "own_audits", module)
    return module


def test_an_own_check_sees_the_statistics_now_and_before(world, own):
    seen = []
    own.look = lambda now, before: seen.append((now, before))
    world.publish(tally(no=30, yes=70))
    world.publish(tally(no=40, yes=60))
    audit_of(a_task(checks=["own_audits:look"]))(world.about_to_publish(tally(failed=25)))
    ((now, before),) = seen
    assert isinstance(now, Statistics)
    assert (now.rows, now.failed_share, now.class_shares) == (125, 0.2, {"no": 0.5, "yes": 0.5})
    assert [found.classes for found in before] == [{"no": 40, "yes": 60}, {"no": 30, "yes": 70}]


def test_what_an_own_check_returns_is_the_problem(world, own):
    own.enough = lambda now, before: f"{now.rows} rows are too few" if now.rows < 1_000 else None
    with pytest.raises(AuditFailedError, match=r"100 rows are too few.*publish_despite=\['enough'\]"):
        audit_of(a_task(checks=["own_audits:enough"]))(world.about_to_publish(tally()))


def broken(now, before):
    raise KeyError("shares")


@pytest.mark.promise("O144")
@pytest.mark.parametrize(
    ("function", "text"),
    [
        (broken, r"the function own_audits:odd raised KeyError: 'shares'; mend it"),
        (
            lambda now, before: False,
            r"the function own_audits:odd returned bool False; it has to return .* text, or None",
        ),
        (lambda now, before: "", r"own_audits:odd returned str ''"),
        (lambda now: None, r"own_audits:odd raised TypeError"),
    ],
)
def test_a_broken_own_check_is_an_error_that_names_it(world, own, function, text):
    """Never a pass: whoever wrote it believes that something is looked at."""
    own.odd = function
    with pytest.raises(AuditFailedError, match=text):
        audit_of(a_task(checks=["own_audits:odd"]))(world.about_to_publish(tally()))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("own_audits:nothing", r"audit.checks='own_audits:nothing': own_audits has no 'nothing'"),
        ("own_audits:number", r"audit.checks='own_audits:number' is a int, not a function"),
        ("no_such_module:x", r"audit.checks='no_such_module:x': module 'no_such_module' is not installed"),
    ],
)
def test_an_own_check_that_cannot_be_imported_is_found_before_anything_is_scored(own, path, text):
    own.number = 3
    with pytest.raises(TaskError, match=text):
        audit_of(a_task(checks=[path]))


def test_lost_predictions_of_a_dataframe_are_not_said_to_be_kept(world):
    audit = TaskAudit(a_task(min_rows=1_000), kept=False)
    with pytest.raises(AuditFailedError, match=r"There is still no table; the predictions are lost\.") as caught:
        audit(world.about_to_publish(tally()))
    assert "Nothing is scored again" not in str(caught.value)


@pytest.mark.parametrize(
    ("task", "limits", "text"),
    [
        ({}, {"max_number_psi": 1}, r"max_number_psi is set, but output 'classification' has no such statistics; .* class_shares, confidences"),
        ({"output": RegressionOutput()}, {"max_confidence_psi": 1}, r"output 'regression' has no such statistics; .* numbers"),
        ({}, {"checks": ["a:classes_within_labels"]}, "as a check of output 'classification' is called"),
        ({}, {"checks": ["a:min_rows"]}, "as a check of this library is called"),
        ({}, {"checks": ["a:same", "b:same"]}, "names 'same' more than once"),
        ({}, {"checks": ["no path"]}, "is not an import path"),
        ({}, {"canaries": "c.csv"}, "must be the path of a Parquet file"),
        ({}, {"allowed_models": ["AB"]}, "64 hexadecimal digits"),
        ({}, {"max_class_share_distance": 2}, r"max_class_share_distance=2 must lie in \[0, 1\]"),
        ({}, {"max_class_share_psi": -1}, "max_class_share_psi=-1 must be a number, and not below 0"),
        ({}, {"history": 0}, "history=0 must be at least 1"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_where_it_is_declared(task, limits, text):
    with pytest.raises(TaskError, match=text):
        a_task(**task, **limits)


def test_statistics_are_plain_numbers(world):
    """Dagster, and JSON, refuse NumPy's."""
    audit = audit_of(a_task(max_class_share_psi=9, max_confidence_distance=1, max_null_share=1, min_rows=0))
    world.publish(tally())
    audit(world.about_to_publish(tally()))
    values = [value for outcome in audit.found[""] for value in outcome.details.values()]
    assert {type(value) for value in values} <= {int, float, str}

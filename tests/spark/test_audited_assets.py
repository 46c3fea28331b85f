"""Checks before the publication as Dagster shows them: green with numbers, red on refusal, yellow where they were
overruled. Real tables and a real network, without a JVM."""

import re
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from dagster.components.testing import create_defs_folder_sandbox
from jobs_here import JobsHere
from page_blocks import blocks_run_by

from sparktorch_assets.audit.statistics import Statistics
from sparktorch_assets.audit.task_audit import TaskAudit
from sparktorch_assets.errors import PartitionsRefusedError
from sparktorch_assets.lake.table import Table
from sparktorch_assets.orchestration.assets.prediction import build_prediction_asset
from sparktorch_assets.orchestration.resources import LakeResource, ModelLoaderResource
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score.partitions import score_partitions
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import AuditPolicy, MlTask, ModelSpec, NumericFeature, SlotPolicy, StaticPartitions

PAGE = (Path(__file__).parents[2] / "docs" / "checks.md").read_text()
BLOCKS = blocks_run_by(__file__)
FILES = {block.file: block.text for block in BLOCKS if block.file}
KEY = dg.AssetKey(["predictions", "late"])


class SparkHere(dg.ConfigurableResource):
    @property
    def spark_session(self) -> Any:
        return JobsHere()


def late(**more):
    """A flight is predicted to be late if it departed late: the network passes on the sign of its input."""
    given = {
        "name": "late",
        "input": "flights",
        "model": ModelSpec(factory="score_nets:sign"),
        "features": [NumericFeature(columns=["delay"])],
        "labels": ["on_time", "late"],
    }
    return MlTask(**given | more)


def flights(late_flights, all_flights=100):
    return [1.0] * late_flights + [-1.0] * (all_flights - late_flights)


class World:
    def __init__(self, folder):
        self.folder = folder
        (folder / "data" / "models").mkdir(parents=True)
        (folder / "data" / "lake").mkdir(parents=True)
        self.instance = dg.DagsterInstance.ephemeral()
        self.table = f"{folder}/data/lake/predictions/late"

    def write(self, **months):
        """The flights of each month: how many of a hundred departed late."""
        delays = [delay for late_flights in months.values() for delay in flights(late_flights)]
        table = pa.table({"month": np.repeat(list(months), 100), "delay": delays})
        (self.folder / "data" / "lake" / "flights").mkdir(exist_ok=True)
        pq.write_table(table, self.folder / "data" / "lake" / "flights" / "part.parquet")

    def run(self, task, despite=None, months=None, config=None):
        if despite:
            config = {"ops": {"predict_late": {"config": {"publish_despite": despite}}}}
        ends = {"start": months[0], "end": months[-1]} if months else {}
        return dg.materialize(
            [build_prediction_asset(task)],
            instance=self.instance,
            run_config=config,
            raise_on_error=False,
            tags={f"dagster/asset_partition_range_{end}": month for end, month in ends.items()},
            resources={
                "spark": SparkHere(),
                "model_loader": ModelLoaderResource(project_root=str(self.folder), device="cpu"),
                "lake": LakeResource(project_root=str(self.folder)),
            },
        )


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    made = World(tmp_path)
    yield made
    made.instance.dispose()


def checks(result):
    return {found.check_name: found for found in result.get_asset_check_evaluations()}


def page(result):
    (event,) = result.asset_materializations_for_node("predict_late")
    return {name: value.value for name, value in event.metadata.items()}


@pytest.mark.promise("O82", "O145", "O146")
def test_a_check_is_green_red_and_yellow(world):
    task = late(audit=AuditPolicy(max_class_share_distance=0.15, min_rows=50))
    world.write(a=20)
    first = checks(world.run(task))
    assert first["class_share_distance"].passed
    assert first["class_share_distance"].metadata["compared with"].value == "no earlier publication"
    assert first["min_rows"].metadata["rows"].value == 100

    world.write(a=60)
    refused = world.run(task)
    found = checks(refused)
    assert not refused.success
    assert {name: check.passed for name, check in found.items() if name in task.audit.names} == {
        "class_share_distance": False,
        "min_rows": True,
    }
    red = found["class_share_distance"]
    assert (red.blocking, red.severity) == (True, dg.AssetCheckSeverity.ERROR)
    assert "late 20.0% -> 60.0%" in red.description
    config = re.search(r"with this config: (.*)$", red.description)[1]
    assert yaml.safe_load(config) == {
        "ops": {"predict_late": {"config": {"publish_despite": ["class_share_distance"]}}}
    }
    assert red.metadata["class_share_distance"].value == pytest.approx(0.4)
    assert not refused.asset_materializations_for_node("predict_late")
    assert Table(world.table).version == 0

    published = world.run(task, ["class_share_distance"])
    assert published.success
    assert published.job_def.nodes[0].name == "predict_late"
    yellow = checks(published)["class_share_distance"]
    assert (yellow.passed, yellow.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "Published all the same" in yellow.description
    shown = page(published)
    assert shown["published_despite"].startswith("class_share_distance: class_share_distance is 0.4")
    assert (shown["class_share_distance"], shown["rows_scored_this_run"]) == (pytest.approx(0.4), 0)
    assert "class_share_distance" in Table(world.table).metadata["audit"]

    unchanged = world.run(task)
    assert unchanged.success
    assert checks(unchanged)["class_share_distance"].severity == dg.AssetCheckSeverity.WARN
    assert page(unchanged)["published_despite"] == shown["published_despite"]


def test_a_check_that_is_new_says_that_it_has_looked_at_nothing(world):
    world.write(a=20)
    world.run(late())
    found = checks(world.run(late(audit=AuditPolicy(max_class_share_psi=0.1))))
    assert found["class_share_psi"].passed
    assert "nothing was published since" in found["class_share_psi"].metadata["compared with"].value


def test_a_refused_model_shows_its_check_red(world):
    world.write(a=20)
    result = world.run(late(audit=AuditPolicy(allowed_models=["0" * 64])))
    found = checks(result)
    assert not result.success
    assert {name: check.passed for name, check in found.items()} == {"allowed_models": False}


@pytest.mark.promise("O147")
def test_a_name_that_no_check_has_stops_the_run_even_with_nothing_to_do(world):
    world.write(a=20)
    world.run(late())
    result = world.run(late(), ["failed_share"])
    (event,) = [event for event in result.all_events if event.is_step_failure]
    assert "publish_despite names 'failed_share', which is no check of it" in str(event.step_failure_data.error)


def partitioned(**audit):
    return late(partitions=StaticPartitions(column="month", values=["1", "2", "3"]), audit=AuditPolicy(**audit))


def test_of_a_backfill_the_month_that_has_drifted_is_refused_and_then_published(world):
    task = partitioned(max_class_share_distance=0.15)
    world.write(**{"1": 20, "2": 25, "3": 60})
    result = world.run(task, months=["1", "3"])
    assert not result.success
    published = [event.partition for event in result.asset_materializations_for_node("predict_late")]
    red = checks(result)["class_share_distance"]
    assert (sorted(published), red.passed) == (["1", "2"], False)
    assert red.description.startswith("Failed in 3. 3: class_share_distance is 0.375")
    assert {part.partition[0][1] for part in Table(world.table).files} == {"1", "2"}

    again = world.run(task, ["class_share_distance"], months=["3", "3"])
    assert again.success
    assert {part.partition[0][1] for part in Table(world.table).files} == {"1", "2", "3"}


def test_in_python_the_error_of_each_refused_partition_says_what_was_found(world):
    task = partitioned(max_class_share_distance=0.15)
    world.write(**{"1": 20, "2": 60, "3": 20})
    places = task.partitions.table_partitions(["1", "2", "3"], {"month": "string", "delay": "double"}, "t")
    given = (JobsHere(), str(world.folder / "data" / "lake" / "flights"), task)
    options = {
        "output_table": world.table,
        "model_loader": ModelLoader(world.folder),
        "partitions": places,
        "slots": SlotPolicy(device="cpu"),
    }
    with pytest.raises(PartitionsRefusedError, match=r"2: task 'late': month=2 was not published") as caught:
        score_partitions(*given, **options)
    assert caught.value.refused.keys() == {"2"}
    assert [report.partition for report in caught.value.published] == [(("month", "1"),), (("month", "3"),)]
    reports = score_partitions(*given, **options, publish_despite=["class_share_distance"])
    assert [report.changed for report in reports] == [False, True, False]
    assert sum(report.run_tally.rows for report in reports) == 0
    assert [outcome.check for outcome in reports[1].audits if outcome.overruled] == ["class_share_distance"]


@pytest.fixture
def my_project(tmp_path, monkeypatch):
    """The package whose code the page shows."""
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_project"]:
        del sys.modules[name]


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::dagster.PreviewWarning")
def test_the_pages_declaration_has_the_checks_that_it_names(my_project):
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.defs_folder_path / "late"
        folder.mkdir()
        (folder / "defs.yaml").write_text(FILES["my_project/defs/late/defs.yaml"])
        with sandbox.load_component_and_build_defs(folder) as (component, definitions):
            names = component.task.audit.names
            (asset,) = [asset for asset in definitions.assets if KEY in asset.keys]
            assert set(names) <= {spec.name for spec in asset.check_specs}
    assert set(names) >= {"class_share_distance", "canaries", "not_all_late"}


@pytest.mark.promise("O144")
def test_the_pages_own_check_finds_what_it_says(my_project):
    task = late(audit=AuditPolicy(checks=["my_project.checks:not_all_late"]))
    audit = TaskAudit(task)
    audit.begin("")
    (check,) = audit._own.values()

    def statistics(late_flights):
        classes = {"late": late_flights, "on_time": 100 - late_flights}
        return Statistics.of(task, Tally(rows=100, predicted=100, classes=classes))

    assert check(statistics(39), [statistics(20)]) is None
    assert check(statistics(41), [statistics(20), statistics(5)]) == "41% of the flights are predicted to be late"


def test_the_pages_refused_month_is_the_message_of_such_a_month(world):
    task = late(
        partitions=StaticPartitions(column="month", values=["2013-01-01", "2013-02-01", "2013-03-01"]),
        audit=AuditPolicy(max_class_share_distance=0.15, min_rows=50),
    )
    world.write(**{"2013-01-01": 15, "2013-02-01": 25, "2013-03-01": 60})
    world.run(task, months=["2013-01-01", "2013-03-01"])
    result = world.run(task, months=["2013-03-01", "2013-03-01"])
    (event,) = [event for event in result.all_events if event.is_step_failure]
    (shown,) = [block.text for block in BLOCKS if block.language == "text"]
    assert " ".join(shown.split()) in " ".join(str(event.step_failure_data.error.cause).split())


def test_the_pages_config_publishes_what_was_refused(world):
    (config,) = [yaml.safe_load(block.text) for block in BLOCKS if block.language == "yaml" and not block.file]
    task = late(audit=AuditPolicy(max_class_share_distance=0.15))
    world.write(a=20)
    world.run(task)
    world.write(a=60)
    assert not world.run(task).success
    assert world.run(task, config=config).success


def test_every_check_of_the_library_is_in_the_pages_table():
    from sparktorch_assets.tasks.audit_policy import BUILT_IN

    table = PAGE.split("\n## All checks\n")[1].split("\n## ")[0]
    assert [name for name in BUILT_IN if f"`{name}`" not in table] == []


def test_the_samples_digits_answer_their_canaries():
    """With the committed file, script, declaration and weights."""
    from sparktorch_assets.spark.score.job.canaries import ask_canaries, find_canaries
    from sparktorch_assets.tasks import ImageFeature

    root = Path(__file__).parents[2]
    declared = yaml.safe_load((root / "sparktorch_assets/defs/digit/defs.yaml").read_text())["attributes"]
    task = MlTask(
        name="digit",
        model=ModelSpec(**declared["model"]),
        features=[ImageFeature(**feature) for feature in declared["features"]],
        labels=declared["labels"],
        audit=AuditPolicy(**declared["audit"]),
    )
    loader, audit = ModelLoader(root / "data" / "models"), TaskAudit(task)
    canaries = find_canaries(task, loader, "digest")
    assert canaries.expected.column_names == ["predicted_class"]
    ask_canaries(
        canaries,
        audit,
        {},
        JobsHere,
        model_loader=loader,
        slots=SlotPolicy(device="cpu"),
        batch_size=None,
    )
    assert audit.recorded == {"canaries": canaries.key}

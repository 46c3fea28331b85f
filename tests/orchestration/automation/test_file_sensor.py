"""The sensor runs what reads files if and only if these are other ones than before, and complete."""

import datetime as dt
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import freeze_time
from orchestration_fakes import a_task

from sparktorch_assets.errors import ModelError
from sparktorch_assets.orchestration.assets.factory import build_input_asset, build_prediction_definitions
from sparktorch_assets.orchestration.runtime import runtime_definitions
from sparktorch_assets.orchestration.watching import look, memory, watched
from sparktorch_assets.orchestration.watching.file_sensor import FILE_SENSOR
from sparktorch_assets.orchestration.watching.memory import SETTLED_SECONDS, Memory, Seen
from sparktorch_assets.tasks import InputTable, MlTask, StaticPartitions, TimePartitions
from sparktorch_assets.tasks.model_spec import ModelSpec

LONG_AGO = time.time() - 3600


def write(path: Path, text: str = "a\n1\n", when: float = LONG_AGO) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (when, when))


class Project:
    """A folder with the input `events`, the task `sample` and its weights."""

    def __init__(self, root: Path, instance: dg.DagsterInstance, tasks: list[MlTask], **table: Any) -> None:
        self.root, self.instance = root, instance
        events = InputTable(name="events", source="in", format="csv", columns={"a": "long", "day": "string"}, **table)
        runtime = runtime_definitions(root)
        self.repository = dg.Definitions.merge(
            dg.Definitions(assets=[build_input_asset(events)]), build_prediction_definitions(tasks), runtime
        ).get_repository_def()
        self.resources = {name: (runtime.resources or {})[name] for name in ("lake", "model_loader")}
        self.cursor: str | None = None
        self.told: str | None = None
        self.keys: list[str | None] = []
        self.requests: list[dg.RunRequest] = []

    def tick(self, cursor: str | None = None) -> set[str]:
        """The assets that one tick requests."""
        context = dg.build_sensor_context(
            instance=self.instance,
            repository_def=self.repository,
            cursor=cursor or self.cursor,
            resources=self.resources,
        )
        result = self.repository.get_sensor_def(FILE_SENSOR).evaluate_tick(context)
        self.cursor, self.told = result.cursor, result.skip_message
        self.requests = list(result.run_requests or [])
        self.keys = [request.run_key for request in self.requests]
        return {key.to_user_string() for request in self.requests for key in request.asset_selection or ()}


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """Where what was written just now counts as complete."""
    monkeypatch.setattr(memory, "SETTLED_SECONDS", 0)
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture
def project(tmp_path: Path, instance: dg.DagsterInstance) -> Project:
    """Files that the sensor has seen, and requested runs for."""
    write(tmp_path / "in/a.csv")
    write(tmp_path / "data/models/sample/model.safetensors")
    found = Project(tmp_path, instance, [a_task()])
    assert [found.tick(), found.tick(), found.tick()] == [set(), {"events", "models/sample"}, set()]
    assert found.told == "nothing new that is complete: 2 files of 2 assets"
    return found


def new(root: Path) -> None:
    write(root / "in/b.csv")


def changed(root: Path) -> None:
    write(root / "in/a.csv", "a\n2\n", LONG_AGO + 1)


def longer(root: Path) -> None:
    write(root / "in/a.csv", "a\n1\n2\n")


def renamed(root: Path) -> None:
    (root / "in/a.csv").rename(root / "in/c.csv")


@pytest.mark.promise("O180")
@pytest.mark.parametrize("change", [new, changed, longer, renamed])
def test_a_change_of_files_is_requested_once(change: Any, project: Project):
    change(project.root)
    assert [project.tick(), project.tick(), project.tick()] == [set(), {"events"}, set()]


@pytest.mark.promise("O180")
def test_one_of_several_files_that_is_gone_is_a_change(project: Project):
    write(project.root / "in/b.csv")
    assert [project.tick(), project.tick()] == [set(), {"events"}]
    (project.root / "in/b.csv").unlink()
    assert [project.tick(), project.tick(), project.tick()] == [set(), {"events"}, set()]


@pytest.mark.promise("O180")
def test_new_weights_run_the_models_asset_alone(project: Project):
    write(project.root / "data/models/sample/model.safetensors", "other weights")
    assert [project.tick(), project.tick(), project.tick()] == [set(), {"models/sample"}, set()]


@pytest.mark.promise("O180")
def test_files_that_are_as_they_once_were_are_a_change_with_a_key_of_its_own(project: Project):
    seen = set()
    for text in ("a\n1\n2\n", "a\n1\n", "a\n1\n2\n", "a\n1\n"):
        write(project.root / "in/a.csv", text)
        assert [project.tick(), project.tick()] == [set(), {"events"}]
        seen.update(project.keys)
    assert len(seen) == 4


@pytest.mark.promise("O181")
def test_a_tick_that_is_repeated_asks_with_the_same_keys(project: Project):
    """Dagster does not start a run whose key it knows."""
    new(project.root)
    project.tick()
    before = project.cursor
    project.tick()
    first = project.keys
    project.tick(cursor=before)
    assert project.keys == first != []


@pytest.mark.promise("O182")
def test_a_file_that_grows_from_tick_to_tick_waits_until_it_does_not(project: Project):
    for size in range(1, 4):
        write(project.root / "in/b.csv", "a\n" * size)
        assert project.tick() == set()
    assert [project.tick(), project.tick()] == [{"events"}, set()]


@pytest.mark.promise("O182")
def test_a_file_that_was_just_written_waits():
    """By its last change as well, which is not among the times that `cp -p` copies."""
    before, seen = Memory(seen="x"), Seen(digest="x", files=1, newest=1_000.0)
    assert not before.asks(seen, 1_000.0 + SETTLED_SECONDS / 2)
    assert before.asks(seen, 1_000.0 + SETTLED_SECONDS)
    assert before.asks(seen, 999.0), "a file from the future must not wait for ever"


@pytest.mark.promise("O182")
def test_the_time_of_the_last_change_counts_whatever_time_a_file_shows(tmp_path: Path):
    write(tmp_path / "in/a.csv", when=1_000.0)
    table = InputTable(name="events", source="in", format="csv", columns={"a": "long"})
    assert time.time() - look.look_at_sources(table, tmp_path).newest < 60


@pytest.mark.promise("O183")
@pytest.mark.parametrize("how", ["gone", "empty"])
def test_a_mount_that_vanishes_requests_nothing_and_neither_does_its_return(how: str, project: Project):
    (project.root / "in").rename(project.root / "elsewhere")
    if how == "empty":
        (project.root / "in").mkdir()
    for _ in range(3):
        assert project.tick() == set()
        assert project.told is not None
        assert "1 of 2 assets not looked at: events: InputTable 'events': source 'in'" in project.told
    if how == "empty":
        (project.root / "in").rmdir()
    (project.root / "elsewhere").rename(project.root / "in")
    assert [project.tick(), project.tick(), project.tick()] == [set()] * 3


@pytest.mark.promise("O183")
def test_weights_that_are_gone_request_nothing_and_hold_no_other_asset_back(project: Project):
    (project.root / "data/models/sample/model.safetensors").unlink()
    new(project.root)
    assert [project.tick(), project.tick(), project.tick()] == [set(), {"events"}, set()]
    assert project.told is not None
    assert "models/sample: " in project.told


@pytest.mark.promise("O184")
def test_what_is_remembered_does_not_grow_with_the_files(project: Project):
    before = project.cursor
    for number in range(300):
        write(project.root / f"in/{number}.csv")
    assert [project.tick(), project.tick()] == [set(), {"events"}]
    assert before is not None
    assert project.cursor is not None
    assert len(project.cursor) == len(before)
    assert len(project.cursor) < 100 * 2


@pytest.mark.promise("O185")
def test_a_registry_is_asked_only_if_a_server_is_configured_and_once_if_it_does_not_answer(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    def task(name: str) -> MlTask:
        model = ModelSpec(weights=f"models:/{name}@champion", format="mlflow")
        return a_task(name=name, model=model, labels=("no", "yes"))

    write(tmp_path / "in/a.csv")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    project = Project(tmp_path, instance, [task("one"), task("two")])
    project.tick()
    assert project.told is not None
    assert "1 files of 1 assets" in project.told
    asked: list[str] = []

    def no_answer(task: MlTask, tracking_uri: str) -> Seen:
        asked.append(task.name)
        raise ModelError("models:/one@champion cannot be had from http://localhost:1")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:1")
    monkeypatch.setattr(watched, "look_at_registry", no_answer)
    assert project.tick() == {"events"}
    project.tick()
    assert project.told is not None
    assert "2 of 3 assets not looked at" in project.told
    assert "the MLflow server did not answer before" in project.told
    assert len(asked) == 2, "once a tick"


@pytest.mark.promise("O185")
def test_an_alias_that_is_moved_runs_the_models_asset(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    write(tmp_path / "in/a.csv")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:1")
    version = "1"
    monkeypatch.setattr(watched, "look_at_registry", lambda task, uri: Seen(digest=version, files=1))
    model = ModelSpec(weights="models:/one@champion", format="mlflow")
    project = Project(tmp_path, instance, [a_task(model=model)])
    assert [project.tick(), project.tick(), project.tick()] == [set(), {"events", "models/sample"}, set()]
    version = "2"
    assert [project.tick(), project.tick(), project.tick()] == [set(), {"models/sample"}, set()]


@pytest.mark.promise("O186")
def test_an_input_with_partitions_is_run_over_all_of_them(tmp_path: Path, instance: dg.DagsterInstance):
    write(tmp_path / "in/a.csv")
    days = StaticPartitions(column="day", values=["mon", "tue", "wed"])
    project = Project(tmp_path, instance, [a_task()], partitions=days)
    project.tick()
    assert project.tick() == {"events"}
    (request,) = project.requests
    assert request.tags["dagster/asset_partition_range_start"] == "mon"
    assert request.tags["dagster/asset_partition_range_end"] == "wed"


@pytest.mark.promise("O186")
def test_a_window_that_has_passed_is_requested_although_no_file_is_new(tmp_path: Path, instance: dg.DagsterInstance):
    write(tmp_path / "in/a.csv")
    months = TimePartitions(by="month", column="day", start="2013-01-01")
    asked = []
    for day in ("2013-01-30", "2013-01-31", "2013-02-01", "2013-02-02", "2013-02-28", "2013-03-01", "2013-03-02"):
        with freeze_time(dt.datetime.fromisoformat(f"{day}T01:00:00+00:00")):
            if not asked:
                project = Project(tmp_path, instance, [], partitions=months)
            project.tick()
            asked.append([request.tags["dagster/asset_partition_range_end"] for request in project.requests])
    assert asked == [[], [], [], ["2013-01-01"], [], [], ["2013-02-01"]]


@pytest.fixture
def sensors() -> dict[bool, dg.SensorDefinition]:
    found = {}
    for running in (False, True):
        repository = runtime_definitions(".", watch_files=running, watch_seconds=20).get_repository_def()
        found[running] = repository.get_sensor_def(FILE_SENSOR)
    return found


@pytest.mark.promise("O187")
def test_the_sensor_is_there_and_on_where_that_was_asked_for(sensors: dict[bool, dg.SensorDefinition]):
    status = {running: sensor.default_status for running, sensor in sensors.items()}
    assert status == {False: dg.DefaultSensorStatus.STOPPED, True: dg.DefaultSensorStatus.RUNNING}
    assert {sensor.minimum_interval_seconds for sensor in sensors.values()} == {20}
    assert "refresh_what_is_stale" in (sensors[True].description or "")


@pytest.mark.promise("O188", "O189")
def test_the_page_says_what_is_on_at_first():
    page = (Path(__file__).parents[3] / "docs" / "refresh.md").read_text()
    told = dict(re.findall(r"^\| `([\w<>]+)` \|[^|]*\| (on|off)", page, flags=re.MULTILINE))
    definitions = dg.Definitions.merge(
        dg.Definitions(assets=[dg.AssetSpec("events")]),
        build_prediction_definitions([a_task(), a_task(name="own", cron="0 * * * *")]),
        runtime_definitions("."),
    )
    repository = definitions.get_repository_def()
    found = {
        found.name.replace("_own", "_<task>"): "on" if found.default_status.value == "RUNNING" else "off"
        for found in (*repository.schedule_defs, *repository.sensor_defs)
    }
    assert told == found

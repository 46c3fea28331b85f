"""What the Launchpad can set for one run: trials publish nothing, and limits hold for that run alone."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from orchestration_fakes import FakeScoreTable, a_task

from sparktorch_assets.orchestration.assets.prediction import build_prediction_asset
from sparktorch_assets.orchestration.assets.run.run_settings import RunSettings
from sparktorch_assets.orchestration.partitions.runs import range_tags
from sparktorch_assets.tasks import MlTask, ModelSpec, StaticPartitions
from sparktorch_assets.tasks.digest import task_digest

KEY = dg.AssetKey(["predictions", "sample"])
ECHO = ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"})


def run(
    resources: dict[str, Any], instance: dg.DagsterInstance, task: MlTask | None = None, *more: Any, **config: Any
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [build_prediction_asset(task or a_task()), *more],
        resources=resources,
        instance=instance,
        run_config={"ops": {"predict_sample": {"config": config}}},
        raise_on_error=False,
    )


def observed(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = [found for found in result.all_events if found.event_type == dg.DagsterEventType.ASSET_OBSERVATION]
    return {name: found.value for name, found in event.asset_observation_data.asset_observation.metadata.items()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [found for found in result.all_events if found.event_type == dg.DagsterEventType.STEP_FAILURE]
    return str(event.step_failure_data.error)


@pytest.fixture
def instance() -> Any:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def real(project: Path, resources: dict[str, Any]) -> dict[str, Any]:
    """Resources with a real loader, and an input of 10 rows."""
    events = {"event_id": range(10), "a": [float(row) for row in range(10)], "b": [1.0] * 10}
    write_deltalake(str(project / "data/lake/events"), pa.table(events))
    loader = resources["model_loader"]
    resources["model_loader"] = type(loader)(project_root=str(project), device="cpu")
    return resources


@pytest.mark.promise("O110")
def test_a_dry_run_says_what_would_be_scored_and_does_nothing(
    project: Path, real: dict[str, Any], instance: dg.DagsterInstance
):
    """No session (the resource would raise), no file, no materialization; what is downstream does not run."""

    @dg.asset(deps=[KEY])
    def downstream() -> None:
        raise AssertionError("the table is the old one")

    before = sorted(project.rglob("*"))
    result = run(real, instance, a_task(model=ECHO), downstream, dry_run=True)
    assert result.success
    shown = observed(result)
    assert (shown["rows_to_read"], shown["shards_new"], shown["shards_unchanged"]) == (10, 1, 0)
    assert "to be refreshed" in shown["plan"]
    assert instance.get_latest_materialization_event(KEY) is None
    assert sorted(project.rglob("*")) == before


@pytest.mark.promise("O110")
def test_checks_keep_their_last_results_through_a_dry_run(
    project: Path, resources: dict[str, Any], real: dict[str, Any], score: FakeScoreTable, instance: dg.DagsterInstance
):
    """Otherwise the blocking ones would hold back what is downstream until the next refresh."""
    task = a_task(model=ECHO)
    first = run(real, instance, task)
    shutil.rmtree(project / "data/lake/predictions/sample")  # the fake's, of another writer
    again = run(real, instance, task, dry_run=True)
    assert again.success
    of_both = [
        {found.check_name: found.passed for found in result.get_asset_check_evaluations()} for result in (first, again)
    ]
    assert of_both[0] == of_both[1]
    assert len(of_both[0]) >= 3


@pytest.mark.promise("O112")
def test_the_settings_of_a_run_reach_score_table(
    resources: dict[str, Any], score: FakeScoreTable, instance: dg.DagsterInstance
):
    first = run(resources, instance, batch_size=7, allow_failed_share=0.9, full_rescore=True)
    run(resources, instance)
    mine, plain = score.calls
    assert (mine["rescore"], plain["rescore"]) == (first.run_id, "")
    assert (mine["batch_size"], mine["task"].max_failed_share) == (7, 0.9)
    assert (plain["batch_size"], plain["task"].max_failed_share) == (64, 0.2)
    assert task_digest(mine["task"]) == task_digest(plain["task"])


@pytest.mark.promise("O112")
def test_a_share_that_is_allowed_once_replaces_both_limits():
    task = a_task(max_failed_share=0.1, max_failed_rows=5)
    allowed = RunSettings(allow_failed_share=0.5).applied_to(task)
    assert allowed == replace(task, max_failed_share=0.5, max_failed_rows=None)
    assert RunSettings().applied_to(task) is task


@pytest.mark.promise("O113")
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"limit_rows": 0}, "greater than or equal to 1"),
        ({"limit_rows": 1001}, "less than or equal to 1000"),
        ({"batch_size": 0}, "greater than or equal to 1"),
        ({"allow_failed_share": 1.5}, "less than or equal to 1"),
    ],
)
def test_values_out_of_range_fail_before_anything_is_read(
    config: dict[str, Any], message: str, resources: dict[str, Any], score: FakeScoreTable, instance: dg.DagsterInstance
):
    result = run(resources, instance, **config)
    assert not result.success
    assert message in failure(result)
    assert score.calls == []


@pytest.mark.promise("O113")
@pytest.mark.parametrize("config", [{"weights": "/tmp/mine.pt"}, {"dry_run": "perhaps"}, {"batch_size": "many"}])
def test_fields_that_do_not_exist_and_wrong_types_are_refused_at_launch(
    config: dict[str, Any], resources: dict[str, Any], instance: dg.DagsterInstance
):
    with pytest.raises(dg.DagsterInvalidConfigError):
        run(resources, instance, **config)
    assert instance.get_runs() == []


@pytest.mark.promise("O113")
def test_every_setting_explains_itself_in_the_launchpad():
    asset = build_prediction_asset(a_task())
    fields = asset.op.config_schema.config_type.fields
    assert set(fields) == set(RunSettings.model_fields)
    assert all(len(field.description) > 40 for field in fields.values())


def test_a_trial_needs_files(project: Path, resources: dict[str, Any], instance: dg.DagsterInstance):
    (project / "data/lake/events").rmdir()
    result = run(resources, instance, dry_run=True)
    assert "dry_run and limit_rows look into files; materialize 'events' first" in failure(result)


@pytest.mark.promise("O114")
def test_a_run_is_tagged_with_the_rows_that_it_scored(
    resources: dict[str, Any], score: FakeScoreTable, instance: dg.DagsterInstance
):
    result = run(resources, instance)
    tags = instance.get_run_by_id(result.run_id).tags
    assert tags["sparktorch/sample.rows_scored"] == "4"
    assert tags["sparktorch/sample.rows_per_second"] == "2"


@pytest.mark.promise("O115")
@pytest.mark.parametrize(
    ("partitions", "tags", "options"),
    [
        (None, {}, ""),
        (["a", "b"], {"dagster/partition": "b"}, " --partition 'b'"),
        (["a", "b"], range_tags(["a", "b"]), " --partition-range 'a...b'"),
    ],
)
def test_a_failed_run_says_what_failed_and_how_to_try_again(
    partitions: Any, tags: Any, options: str, real: dict[str, Any], instance: dg.DagsterInstance, project: Path
):
    task = a_task(model=ModelSpec(weights="nothing.safetensors", architecture="torch.nn:Linear"))
    if partitions:
        task = replace(task, partitions=StaticPartitions(column="event_id", values=partitions))
    result = dg.materialize(
        [build_prediction_asset(task)], resources=real, instance=instance, raise_on_error=False, tags=tags
    )
    said = [entry.user_message for entry in instance.all_logs(result.run_id) if "FAILED" in entry.user_message]
    assert len(said) == 1
    assert said[0].startswith("FAILED predictions/sample: ")
    assert said[0].endswith(f"""To try again: dg launch --assets 'key:"predictions/sample"'{options}""")


@pytest.mark.promise("O111")
@pytest.mark.parametrize("shown", [10, 0])
def test_a_limited_run_shows_rows_and_publishes_none(
    shown: int, real: dict[str, Any], instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    """`preview_rows: 0` of the task shows counts alone."""

    def tried(_session: Any, _source: str, task: MlTask, rows: int, **_given: Any) -> list[dict[str, Any]]:
        return [{"event_id": number, "predicted_class": "no", task.error_column: None} for number in range(rows)]

    monkeypatch.setattr("sparktorch_assets.spark.score.preview.preview_rows", tried)
    result = run(real, instance, a_task(model=ECHO, preview_rows=shown), limit_rows=3)
    found = observed(result)
    assert (result.success, found["rows_tried"], found["failed_rows"]) == (True, 3, 0)
    assert ("predictions" in found) == bool(shown)
    assert instance.get_latest_materialization_event(KEY) is None

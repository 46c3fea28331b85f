"""When predictions are refreshed by schedules, and that real predictions record what automation compares."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestration_fakes import FakeScoreTable, a_task

from sparktorch_assets.errors import TaskError
from sparktorch_assets.orchestration.assets.factory import (
    build_input_asset,
    build_prediction_assets,
    build_prediction_definitions,
)
from sparktorch_assets.orchestration.automation.schedules import (
    daily_schedule,
    own_schedules,
    staleness_condition,
    watch_schedule,
)
from sparktorch_assets.orchestration.runtime import runtime_definitions
from sparktorch_assets.tasks import InputTable

KEY = dg.AssetKey(["predictions", "sample"])


@dg.asset
def events() -> None: ...


@dg.asset
def others() -> None: ...


def chosen(schedule: dg.ScheduleDefinition, tasks: list[Any], assets: Sequence[Any] = (events, others)) -> set[str]:
    definitions = dg.Definitions.merge(
        dg.Definitions(assets=assets),
        dg.Definitions(
            assets=build_prediction_definitions(tasks).assets,
            schedules=[schedule],
            resources=runtime_definitions(".").resources,
        ),
    )
    job = definitions.resolve_job_def(schedule.job_name)
    return {key.to_user_string() for key in job.asset_layer.executable_asset_keys}


@pytest.mark.promise("O1")
def test_the_daily_schedule_takes_everything_upstream_but_leaves_tasks_with_their_own_cron():
    tasks = [
        a_task(),
        a_task(name="chained", input="predictions/sample"),
        a_task(name="hourly", input="others", cron="0 * * * *"),
    ]
    assert chosen(daily_schedule(), tasks) == {
        "events",
        "models/sample",
        "predictions/sample",
        "models/chained",
        "predictions/chained",
    }


@pytest.mark.promise("O18")
def test_an_asset_of_the_users_takes_part_in_the_daily_schedule_by_its_tag():
    deps = [dg.AssetKey(["predictions", "sample"])]
    report = dg.asset(name="report", deps=deps, tags={"sparktorch/refresh": "daily"})(lambda: None)
    other = dg.asset(name="other", deps=deps)(lambda: None)
    assert chosen(daily_schedule(), [a_task()], [events, report, other]) == {
        "events",
        "models/sample",
        "predictions/sample",
        "report",
    }


@pytest.mark.promise("O3")
def test_a_task_with_a_cron_gets_a_schedule_with_its_input_and_model():
    hourly = a_task(name="hourly", cron="0 * * * *")
    (schedule,) = own_schedules([a_task(), hourly])
    assert (schedule.name, schedule.cron_schedule) == ("refresh_hourly", "0 * * * *")
    assert chosen(schedule, [a_task(), hourly]) == {"events", "models/hourly", "predictions/hourly"}


@pytest.mark.promise("O3")
def test_the_own_schedule_of_a_chained_task_leaves_the_other_task_alone():
    chained = a_task(name="chained", input="predictions/sample", cron="0 * * * *")
    (schedule,) = own_schedules([chained])
    assert chosen(schedule, [a_task(), chained]) == {"models/chained", "predictions/chained"}


@pytest.mark.promise("O3")
def test_the_own_schedule_goes_all_the_way_up_whatever_the_groups_and_stops_at_other_tasks():
    """`raw` lies behind the other task as well, and is taken for the way that does not lead through it."""
    raw = dg.asset(name="raw", group_name="predictions")(lambda: None)
    joined = dg.asset(name="joined", group_name="predictions", deps=["raw", dg.AssetKey(["predictions", "sample"])])(
        lambda: None
    )
    made = dg.asset(key=["predictions", "made"], deps=[joined, dg.AssetSpec("from_elsewhere")])(lambda: None)
    assets = [raw, joined, made, dg.asset(name="events", deps=["raw", "not_ours"])(lambda: None), others]
    assets.append(dg.asset(name="not_ours")(lambda: None))
    hourly = a_task(name="hourly", input="predictions/made", cron="0 * * * *")
    (schedule,) = own_schedules([hourly])
    assert chosen(schedule, [a_task(), hourly], assets) == {
        "raw",
        "joined",
        "predictions/made",
        "models/hourly",
        "predictions/hourly",
    }


def refreshed_by(definitions: dg.Definitions) -> dict[str, set[str]]:
    """Prediction asset -> names of the schedules that refresh it, in definitions as a user merges them."""
    found: dict[str, set[str]] = {}
    for schedule in definitions.schedules or []:
        assert isinstance(schedule, dg.ScheduleDefinition)
        job = definitions.resolve_job_def(schedule.job_name)
        for key in job.asset_layer.executable_asset_keys:
            if key.path[0] == "predictions":
                found.setdefault(key.path[-1], set()).add(schedule.name)
    return found


CRONS = st.none() | st.sampled_from(["0 * * * *", "30 6 * * 1"])


@given(st.lists(CRONS, max_size=4))
def test_every_task_declared_in_python_is_refreshed_by_exactly_one_schedule(crons: list[str | None]):
    """With a cron by its own, without one by the daily schedule."""
    tasks = [a_task(name=f"t{index}", cron=cron) for index, cron in enumerate(crons)]
    definitions = dg.Definitions.merge(
        dg.Definitions(assets=[events]), build_prediction_definitions(tasks), runtime_definitions(".")
    )
    dg.Definitions.validate_loadable(definitions)
    assert refreshed_by(definitions) == {
        task.name: {f"refresh_{task.name}" if task.cron else "daily_predictions"} for task in tasks
    }


@pytest.mark.promise("O4")
def test_assets_alone_refuse_a_task_that_nothing_would_refresh():
    with pytest.raises(TaskError, match="MlTask 'sample': cron=.* Call build_prediction_definitions"):
        build_prediction_assets([a_task(cron="0 * * * *")])


@pytest.mark.promise("O5")
def test_a_cron_is_told_in_the_tasks_time_zone_and_in_utc_where_it_names_none():
    vienna = a_task(name="vienna", cron="0 6 * * *", timezone="Europe/Vienna")
    schedules = build_prediction_definitions([vienna, a_task(cron="0 6 * * *")]).schedules or []
    zones = {s.name: s.execution_timezone for s in schedules if isinstance(s, dg.ScheduleDefinition)}
    assert zones == {"refresh_vienna": "Europe/Vienna", "refresh_sample": "UTC"}


@pytest.mark.promise("O5")
def test_the_runtimes_time_zone_is_that_of_its_own_schedules():
    schedules = runtime_definitions(
        ".", timezone="Asia/Tokyo", daily_cron="0 5 * * *", watch_cron="*/5 * * * *"
    ).schedules
    assert {
        (s.cron_schedule, s.execution_timezone) for s in schedules or [] if isinstance(s, dg.ScheduleDefinition)
    } == {
        ("0 5 * * *", "Asia/Tokyo"),
        ("*/5 * * * *", "Asia/Tokyo"),
    }


@pytest.mark.promise("O14")
def test_watching_takes_input_tables_and_models_and_nothing_else():
    """The user's own upstream asset may be dear, and is left to the schedules of predictions."""
    table = build_input_asset(InputTable(name="events", source="in", format="csv", columns={"a": "long"}))
    own = a_task(name="own", input="others", cron="0 3 * * *")
    found = chosen(watch_schedule("*/10 * * * *"), [a_task(), own], [table, others])
    assert found == {"events", "models/sample", "models/own"}


@pytest.mark.promise("O14")
def test_inputs_and_models_have_no_condition_by_which_automation_would_run_them():
    table = build_input_asset(InputTable(name="events", source="in", format="csv", columns={"a": "long"}))
    model, predictions = build_prediction_assets([a_task()])
    assert [spec.automation_condition for asset in (table, model) for spec in asset.specs] == [None, None]
    assert [spec.automation_condition for spec in predictions.specs] == [staleness_condition()]


@pytest.mark.promise("O20")
def test_no_asset_is_retried():
    table = build_input_asset(InputTable(name="events", source="in", format="csv", columns={"a": "long"}))
    assert {asset.op.retry_policy for asset in (table, *build_prediction_assets([a_task()]))} == {None}


@pytest.mark.promise("O14")
def test_nothing_is_watched_unless_that_is_asked_for():
    (schedule,) = runtime_definitions(".").schedules or []
    assert schedule.name == "daily_predictions"


@pytest.mark.promise("O1", "O3", "O14")
def test_schedules_are_on_from_the_start():
    schedules = [daily_schedule(), watch_schedule("* * * * *"), *own_schedules([a_task(cron="0 * * * *")])]
    assert {schedule.default_status for schedule in schedules} == {dg.DefaultScheduleStatus.RUNNING}


@pytest.mark.promise("O8")
@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")  # from Dagster's own evaluate_automation_conditions
def test_automation_asks_for_a_refresh_after_new_data_or_new_code_and_only_then(
    resources: dict[str, Any], score: FakeScoreTable
):
    version = "1"

    @dg.asset(name="events")
    def versioned_events() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(data_version=dg.DataVersion(version))

    def definitions(**changes: Any) -> dg.Definitions:
        return dg.Definitions(
            assets=[versioned_events, *build_prediction_assets([a_task(**changes)])], resources=resources
        )

    with dg.DagsterInstance.ephemeral() as instance:
        defs = definitions()
        assert defs.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance).success
        cursor = None

        def requested(found: dg.Definitions) -> int:
            nonlocal cursor
            result = dg.evaluate_automation_conditions(found, instance=instance, cursor=cursor)
            cursor = result.cursor
            return result.get_num_requested(KEY)

        def materialize(*keys: dg.AssetKey) -> None:
            job = defs.resolve_implicit_global_asset_job_def()
            assert job.execute_in_process(instance=instance, asset_selection=list(keys)).success

        assert requested(defs) == 0
        materialize(dg.AssetKey("events"))
        assert requested(defs) == 0, "the same data version, though materialized again"
        version = "2"
        materialize(dg.AssetKey("events"))
        assert requested(defs) == 1, "a new data version"
        materialize(KEY)
        assert requested(defs) == 0
        defs = definitions(code_version="2")
        assert requested(defs) == 1, "a new code version"
        materialize(KEY)
        assert requested(defs) == 0

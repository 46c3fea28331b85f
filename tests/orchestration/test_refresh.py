"""When predictions are refreshed: schedules, and automation conditions evaluated tick by tick."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestration_fakes import FakeScoreTable, a_task

from sparktorch_assets.errors import TaskError
from sparktorch_assets.orchestration.factory import (
    build_prediction_assets,
    build_prediction_definitions,
)
from sparktorch_assets.orchestration.refresh import (
    daily_schedule,
    own_schedules,
)
from sparktorch_assets.orchestration.runtime import runtime_definitions

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


def test_a_task_with_a_cron_gets_a_schedule_with_its_input_and_model():
    hourly = a_task(name="hourly", cron="0 * * * *")
    (schedule,) = own_schedules([a_task(), hourly])
    assert (schedule.name, schedule.cron_schedule) == ("refresh_hourly", "0 * * * *")
    assert chosen(schedule, [a_task(), hourly]) == {"events", "models/hourly", "predictions/hourly"}


def test_the_own_schedule_of_a_chained_task_leaves_the_other_task_alone():
    chained = a_task(name="chained", input="predictions/sample", cron="0 * * * *")
    (schedule,) = own_schedules([chained])
    assert chosen(schedule, [a_task(), chained]) == {"models/chained", "predictions/chained"}


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


def test_assets_alone_refuse_a_task_that_nothing_would_refresh():
    with pytest.raises(TaskError, match="MlTask 'sample': cron=.* Call build_prediction_definitions"):
        build_prediction_assets([a_task(cron="0 * * * *")])


def test_a_cron_is_told_in_the_tasks_time_zone_and_in_utc_where_it_names_none():
    vienna = a_task(name="vienna", cron="0 6 * * *", timezone="Europe/Vienna")
    schedules = build_prediction_definitions([vienna, a_task(cron="0 6 * * *")]).schedules or []
    zones = {s.name: s.execution_timezone for s in schedules if isinstance(s, dg.ScheduleDefinition)}
    assert zones == {"refresh_vienna": "Europe/Vienna", "refresh_sample": "UTC"}


def test_the_runtimes_time_zone_is_that_of_its_own_schedules():
    schedules = runtime_definitions(".", timezone="Asia/Tokyo", daily_cron="0 5 * * *").schedules
    assert {
        (s.cron_schedule, s.execution_timezone) for s in schedules or [] if isinstance(s, dg.ScheduleDefinition)
    } == {
        ("0 5 * * *", "Asia/Tokyo"),
    }


def test_schedules_are_on_from_the_start():
    schedules = [daily_schedule(), *own_schedules([a_task(cron="0 * * * *")])]
    assert {schedule.default_status for schedule in schedules} == {dg.DefaultScheduleStatus.RUNNING}


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

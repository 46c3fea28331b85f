"""When predictions are refreshed: on schedules, and by Dagster's automation if it is switched on.

A refresh is cheap if nothing changed: it compares files and digests, and starts no Spark session. Schedules therefore
include everything upstream: inputs and models notice what is new, and predictions score only that.
"""

import warnings
from collections.abc import Iterable
from typing import Any

import dagster as dg

from sparktorch_assets.orchestration.automation.refresh_schedule import refresh_schedule
from sparktorch_assets.orchestration.automation.staleness import AttemptDue, Stale
from sparktorch_assets.orchestration.automation.upstream import UpToOtherTasks
from sparktorch_assets.orchestration.keys import REFRESH_TAG, WATCH_TAG, prediction_key
from sparktorch_assets.tasks import MlTask

DAILY_SCHEDULE = "daily_predictions"
DAILY_CRON = "0 3 * * *"
WATCH_SCHEDULE = "watch_inputs_and_models"
AUTOMATION_SENSOR = "refresh_what_is_stale"


def staleness_condition() -> dg.AutomationCondition[dg.AssetKey]:
    """Refresh assets that were made from versions of code or upstream data other than the current ones.

    Of an asset with partitions, just those partitions are requested; its function must call `record_made_from` first.

    Nothing is requested while the asset or an upstream one is in progress, while an upstream one is missing, or while a
    blocking check of an upstream one has not passed. A refresh that fails is requested again a few times.

    Only a sensor that is evaluated in the code location can evaluate this condition: that of `runtime_definitions`, or
    your own `dg.AutomationConditionSensorDefinition(..., use_user_code_server=True)`.
    """
    condition: Any = dg.AutomationCondition  # its types do not allow what its documentation combines
    return (  # type: ignore[no-any-return]
        (~condition.in_progress()).with_label("not_in_progress")
        & (~condition.any_deps_in_progress()).with_label("no_deps_in_progress")
        & condition.all_deps_blocking_checks_passed()
        & Stale()
        & AttemptDue()
    ).with_label("stale_and_ready")


def automation_sensor(*, running: bool) -> dg.AutomationConditionSensorDefinition:
    """A sensor that evaluates all automation conditions of the code location, including those of your own assets.

    Args:
        running: whether it is on from the start. If not, it can be switched on in Dagster's UI.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # for use_user_code_server, to which Dagster has no alternative
        return dg.AutomationConditionSensorDefinition(
            name=AUTOMATION_SENSOR,
            target=dg.AssetSelection.all(),
            use_user_code_server=True,
            default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
            description="Refresh predictions that were made from data, models or code other than the current ones.",
        )


def refresh_tags(task: MlTask) -> dict[str, str]:
    """The tag by which the daily schedule finds its tasks."""
    return {REFRESH_TAG: "own" if task.cron else "daily"}


def daily_schedule(cron: str = DAILY_CRON, timezone: str = "UTC") -> dg.ScheduleDefinition:
    """A schedule that refreshes every task without a cron of its own, and everything that these tasks depend on.

    It is on from the start: a schedule that must first be switched on refreshes nothing.
    """
    daily, own = dg.AssetSelection.tag(REFRESH_TAG, "daily"), dg.AssetSelection.tag(REFRESH_TAG, "own")
    return refresh_schedule(
        DAILY_SCHEDULE,
        daily.upstream() - own,
        cron,
        timezone,
        "Refresh all predictions (except those with their own schedule), with their inputs and models.",
    )


def watch_schedule(cron: str, timezone: str = "UTC") -> dg.ScheduleDefinition:
    """A schedule that only looks for new input files and new model weights. It is on from the start."""
    return refresh_schedule(
        WATCH_SCHEDULE,
        dg.AssetSelection.tag(WATCH_TAG, "yes"),
        cron,
        timezone,
        "Look for new input files and new weights.",
    )


def own_schedules(tasks: Iterable[MlTask]) -> list[dg.ScheduleDefinition]:
    """One schedule per task that names a cron, which is read in the task's time zone.

    Each schedule refreshes its task and everything upstream, up to other tasks' predictions, which it leaves alone.
    """
    return [
        refresh_schedule(
            f"refresh_{task.name}",
            UpToOtherTasks(prediction_key(task)),
            task.cron,
            task.timezone,
            f"Refresh predictions/{task.name} with its input and model.",
        )
        for task in tasks
        if task.cron
    ]

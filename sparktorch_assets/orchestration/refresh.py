"""When predictions are made again: on a schedule, and on Dagster's automation where that is switched on.

A refresh is cheap where nothing changed: files and digests are compared, and no Spark session starts. Schedules
therefore take the whole way upstream: the inputs and models notice what is new, the predictions score only that.
"""

from collections.abc import Iterable
from typing import Any

import dagster as dg

from sparktorch_assets.orchestration.asset_keys import REFRESH_TAG, prediction_key
from sparktorch_assets.orchestration.upstream import UpToOtherTasks
from sparktorch_assets.tasks import MlTask

DAILY_SCHEDULE = "daily_predictions"
DAILY_CRON = "0 3 * * *"


def staleness_condition() -> dg.AutomationCondition[dg.AssetKey]:
    """Refresh when an upstream's data version or this asset's code version changed.

    Plain `eager()` refreshes after any upstream materialization, even one that changed nothing (dagster issue 25439),
    and not after a new code version.
    """
    condition: Any = dg.AutomationCondition  # its types do not allow what its documentation combines
    on_new_data = condition.eager().replace(
        "any_deps_updated", condition.any_deps_match(condition.data_version_changed())
    )
    on_new_code = condition.code_version_changed().since_last_handled() & ~condition.in_progress()
    return on_new_data | on_new_code  # type: ignore[no-any-return]


def refresh_tags(task: MlTask) -> dict[str, str]:
    """The tag by which the daily schedule finds its tasks."""
    return {REFRESH_TAG: "own" if task.cron else "daily"}


def daily_schedule(cron: str = DAILY_CRON, timezone: str = "UTC") -> dg.ScheduleDefinition:
    """Refreshes every task without a cron of its own, and what those depend on.

    It is on from the start: a schedule that waits for somebody's switch refreshes nothing.
    """
    daily, own = dg.AssetSelection.tag(REFRESH_TAG, "daily"), dg.AssetSelection.tag(REFRESH_TAG, "own")
    return dg.ScheduleDefinition(
        name=DAILY_SCHEDULE,
        target=daily.upstream() - own,
        cron_schedule=cron,
        execution_timezone=timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Refresh all predictions (but those with a schedule of their own), with their inputs and models.",
    )


def own_schedules(tasks: Iterable[MlTask]) -> list[dg.ScheduleDefinition]:
    """One schedule for each task that names a cron, told in the task's time zone.

    It takes the task and everything upstream, up to other tasks' predictions, which it leaves alone.
    """
    return [
        dg.ScheduleDefinition(
            name=f"refresh_{task.name}",
            target=UpToOtherTasks(prediction_key(task)),
            cron_schedule=task.cron,
            execution_timezone=task.timezone,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=f"Refresh predictions/{task.name} with its input and model.",
        )
        for task in tasks
        if task.cron
    ]

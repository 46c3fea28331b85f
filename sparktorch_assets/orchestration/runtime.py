"""What a code location needs in addition to its assets: resources, an executor, schedules and sensors."""

from pathlib import Path
from typing import Any

import dagster as dg

from sparktorch_assets.orchestration.automation.schedules import (
    DAILY_CRON,
    automation_sensor,
    daily_schedule,
    watch_schedule,
)
from sparktorch_assets.orchestration.resources import LakeResource, ModelLoaderResource, SparkSessionResource
from sparktorch_assets.orchestration.watching.file_sensor import file_sensor


def runtime_definitions(
    project_root: str | Path,
    *,
    spark: dg.ConfigurableResource[Any] | None = None,
    model_loader: ModelLoaderResource | None = None,
    lake: LakeResource | None = None,
    daily_cron: str = DAILY_CRON,
    timezone: str = "UTC",
    watch_cron: str | None = None,
    automation: bool = False,
    watch_files: bool = False,
    watch_seconds: int = 60,
) -> dg.Definitions:
    """The resources `spark`, `model_loader` and `lake`, the in-process executor, the daily schedule, and two
    sensors: one that refreshes what is stale, and one that looks for new files.

    Dagster's default executor starts a process, and so a JVM (8-10 s), for each asset; in one process the assets of a
    run share a session, and Spark does the parallel part.

    Merge them with those of your assets, and pass the result through `check_definitions`, so that `dg check defs`
    finds tasks that do not fit their input.

    Args:
        project_root: the folder that relative paths are resolved against, including those of `model_loader` and `lake`
            unless they name a `project_root` of their own.
        spark: replaces `SparkSessionResource()`; any resource with an attribute `spark_session`.
        model_loader: replaces `ModelLoaderResource()`.
        lake: replaces `LakeResource()`.
        daily_cron: cron expression of the daily schedule.
        timezone: time zone of `daily_cron` and `watch_cron`. A task's own `cron` is read in the task's `timezone`.
        watch_cron: cron expression of a further schedule, on which inputs and models look for new files and weights.
            With `None`, they do so only when predictions are refreshed.
        automation: whether the automation sensor is on from the start. If not, it can be switched on in the UI.
        watch_files: whether the sensor that looks for new, changed and missing files is on from the start. If not, it can
            be switched on in the UI.
        watch_seconds: the least time between two looks of that sensor.
    """
    root = str(Path(project_root).expanduser().absolute())
    schedules = [daily_schedule(daily_cron, timezone)]
    if watch_cron is not None:
        schedules.append(watch_schedule(watch_cron, timezone))
    return dg.Definitions(
        resources={
            "spark": spark or SparkSessionResource(),
            "model_loader": (model_loader or ModelLoaderResource()).in_project(root),
            "lake": (lake or LakeResource()).in_project(root),
        },
        executor=dg.in_process_executor,
        schedules=schedules,
        sensors=[automation_sensor(running=automation), file_sensor(running=watch_files, seconds=watch_seconds)],
    )

"""What a code location needs beside its assets: resources, an executor, schedules and the automation sensor."""

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
) -> dg.Definitions:
    """The resources `spark`, `model_loader` and `lake`, the in-process executor, the daily schedule and the automation sensor.

    Dagster's default executor starts a process, and so a JVM (8-10 s), for each asset; in one process the assets of a
    run share a session, and Spark does the parallel part.

    Args:
        project_root: the folder that relative paths start at, also those of `model_loader` and `lake`, unless they name a
            `project_root` of their own.
        spark: in place of `SparkSessionResource()`; any resource with a `spark_session`.
        model_loader: in place of `ModelLoaderResource()`.
        lake: in place of `LakeResource()`.
        daily_cron: when the daily schedule runs.
        timezone: of `daily_cron` and `watch_cron`. A task's own `cron` goes by the task's `timezone`.
        watch_cron: when inputs and models look for new files and weights, apart from the schedules of predictions. `None`
            leaves it to those.
        automation: whether the automation sensor is on from the start, or waits to be switched on in the UI.
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
        sensors=[automation_sensor(running=automation)],
    )

"""What a code location needs beside its assets: resources, an executor, the daily schedule."""

from pathlib import Path
from typing import Any

import dagster as dg

from sparktorch_assets.orchestration.refresh import DAILY_CRON, daily_schedule
from sparktorch_assets.orchestration.resources import LakeResource, ModelLoaderResource, SparkSessionResource


def runtime_definitions(
    project_root: str | Path,
    *,
    spark: dg.ConfigurableResource[Any] | None = None,
    model_loader: ModelLoaderResource | None = None,
    lake: LakeResource | None = None,
    daily_cron: str = DAILY_CRON,
    timezone: str = "UTC",
) -> dg.Definitions:
    """The resources `spark`, `model_loader` and `lake`, the in-process executor, and the daily schedule.

    Dagster's default executor starts a process, and so a JVM (8-10 s), for each asset; in one process the assets of a
    run share a session, and Spark does the parallel part.

    Args:
        project_root: the folder that relative paths start at.
        spark: in place of `SparkSessionResource()`; any resource with a `spark_session`.
        model_loader: in place of `ModelLoaderResource()`.
        lake: in place of `LakeResource()`.
        daily_cron: when the daily schedule runs.
        timezone: of that time. A task's own `cron` goes by the task's `timezone`.
    """
    root = str(project_root)
    return dg.Definitions(
        resources={
            "spark": spark or SparkSessionResource(),
            "model_loader": model_loader or ModelLoaderResource(project_root=root),
            "lake": lake or LakeResource(project_root=root),
        },
        executor=dg.in_process_executor,
        schedules=[daily_schedule(daily_cron, timezone)],
    )

"""A schedule that refreshes a selection of assets, over all partitions that exist at the time.

Unchanged partitions cost nothing, so that a tick does not have to know which ones have changed.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.job.asset_job import build_asset_job, get_asset_graph_for_job
from dagster._core.definitions.target import ANONYMOUS_ASSET_JOB_PREFIX
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from sparktorch_assets.orchestration.partitions.runs import planned_runs


class _AnyPartitions(UnresolvedAssetJobDefinition):
    """A job of assets that need not be divided alike.

    Dagster's own refuses them, although each run of it may select those that are, as runs of its job of all assets do.
    """

    def resolve(
        self,
        asset_graph: Any,
        default_executor_def: dg.ExecutorDefinition | None = None,
        resource_defs: Mapping[str, dg.ResourceDefinition] | None = None,
    ) -> dg.JobDefinition:
        return build_asset_job(
            self.name,
            asset_graph=get_asset_graph_for_job(asset_graph, self.selection, allow_different_partitions_defs=True),
            executor_def=default_executor_def,
            resource_defs=resource_defs,
            allow_different_partitions_defs=True,
        )


def refresh_schedule(
    name: str, selection: dg.AssetSelection, cron: str, timezone: str, description: str
) -> dg.ScheduleDefinition:
    """A schedule that refreshes the selection. It is on from the start: one that must first be switched on refreshes
    nothing.

    Assets that are divided in different ways need one run for each way. These begin at the same time.

    Args:
        name: the schedule's name.
        selection: the assets.
        cron: cron expression.
        timezone: the time zone of `cron`.
        description: what Dagster's UI says of it.
    """
    job = _AnyPartitions(name=f"{ANONYMOUS_ASSET_JOB_PREFIX}_{name}", selection=selection)

    def requests(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        assert context.repository_def is not None
        keys = set(context.repository_def.get_job(job.name).asset_layer.executable_asset_keys)
        runs = planned_runs(context.instance, context.repository_def.asset_graph, keys, one_by_one=False)
        for number, run in enumerate(runs):
            # Dagster asks for a key where there are several.
            run_key = f"{context.scheduled_execution_time.isoformat()} {number}"
            yield dg.RunRequest(run_key=run_key, asset_selection=list(run.assets), tags=run.tags)

    return dg.ScheduleDefinition(
        name=name,
        job=job,
        cron_schedule=cron,
        execution_timezone=timezone,
        execution_fn=requests,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )

"""A run that publishes nothing: a dry run, which plans, or a trial of the model on a few rows.

It reports an observation instead of a materialization. The checks keep their last results, since the table is the one
that they looked at: Dagster would otherwise show them as not executed, and automation would wait for them.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from sparktorch_assets.errors import TableError
from sparktorch_assets.orchestration.assets.partitioned.prediction import table_partitions
from sparktorch_assets.orchestration.assets.run.run_settings import RunSettings
from sparktorch_assets.orchestration.assets.text.markdown import preview_table
from sparktorch_assets.orchestration.keys import prediction_key, source_key
from sparktorch_assets.orchestration.partitions.of_run import partitions_of
from sparktorch_assets.tasks import MlTask

if TYPE_CHECKING:
    from sparktorch_assets.orchestration.resources import LakeResource, SparkSource
    from sparktorch_assets.tasks.partitions import TablePartition

_CHECKS_KEPT = 25
"""How many of a check's past results are looked through for the last one; runs without a result come in between."""


def try_run(
    context: dg.AssetExecutionContext,
    config: RunSettings,
    task: MlTask,
    spark: "SparkSource",
    lake: "LakeResource",
    settings: Mapping[str, Any],
) -> Iterator[Any]:
    """Plan or try the run, and yield what Dagster needs of a step that materializes nothing.

    Args:
        context: the context of the run.
        config: the run's settings: a dry run, or a limit of rows.
        task: the asset's task.
        spark: the resource that has the session; a dry run does not ask for it.
        lake: where the tables are.
        settings: the arguments of `score_table`.

    Raises:
        TableError: the input has no table.
    """
    from sparktorch_assets.lake.files.folder import Folder

    key, source = prediction_key(task), lake.table_uri(source_key(task))
    if not Folder(source).exists():
        raise TableError(
            f"task {task.name!r}: its input has no table at {source}, and dry_run and limit_rows look into files; "
            f"materialize {task.input!r} first"
        )
    partitions = table_partitions(task, partitions_of(context, key), source) if task.partitions else ()
    metadata = (
        _planned(context, task, source, settings, partitions)
        if config.dry_run
        else _tried(task, config, spark, source, settings, partitions)
    )
    context.log_event(dg.AssetObservation(key, metadata=metadata))
    context.log.info("nothing was published, and the asset is not materialized by this run")
    yield from _last_checks(context)


def _planned(
    context: dg.AssetExecutionContext,
    task: MlTask,
    source: str,
    settings: Mapping[str, Any],
    partitions: tuple["TablePartition", ...],
) -> dict[str, Any]:
    from sparktorch_assets.spark.score.partitions import plan_partitions
    from sparktorch_assets.spark.score.table import plan_table

    places = {name: settings[name] for name in ("output_table", "model_loader", "rescore")}
    if partitions:
        several = plan_partitions(source, task, partitions=partitions, **places)
        text, plans = str(several), list(several.plans.values())
    else:
        plan = plan_table(source, task, **places)
        text, plans = str(plan), [plan]
    context.log.info(text)
    new = [shard for plan in plans for shard in plan.new]
    return {
        "plan": dg.MetadataValue.md(f"```\n{text}\n```"),
        "rows_to_read": sum(shard.rows for shard in new),
        "shards_new": len(new),
        "shards_unchanged": sum(len(plan.unchanged) for plan in plans),
        "shards_resumable": sum(len(plan.resumable) for plan in plans),
    }


def _tried(
    task: MlTask,
    config: RunSettings,
    spark: "SparkSource",
    source: str,
    settings: Mapping[str, Any],
    partitions: tuple["TablePartition", ...],
) -> dict[str, Any]:
    from sparktorch_assets.spark.score.preview import preview_rows

    assert config.limit_rows is not None
    rows = preview_rows(
        lambda: spark.spark_session,
        source,
        task,
        config.limit_rows,
        where=partitions[0].where if partitions else (),
        **{name: settings[name] for name in ("model_loader", "slots", "batch_size")},
    )
    failed = [row for row in rows if row[task.error_column] is not None]
    shown: dict[str, Any] = {"rows_tried": len(rows), "failed_rows": len(failed)}
    if rows and task.preview_rows:
        shown["predictions"] = dg.MetadataValue.md(preview_table(rows))
    return shown


def _last_checks(context: dg.AssetExecutionContext) -> Iterator[Any]:
    storage = context.instance.event_log_storage
    for output, spec in context.assets_def.check_specs_by_output_name.items():
        history = storage.get_asset_check_execution_history(spec.key, limit=_CHECKS_KEPT)
        events = (record.event.dagster_event for record in history if record.event is not None)
        evaluated = (
            event
            for event in events
            if event is not None and event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
        )
        found = next(evaluated, None)
        if found is None:
            yield dg.Output(None, output)
            continue
        last = found.asset_check_evaluation_data
        yield dg.AssetCheckResult(
            asset_key=spec.asset_key,
            check_name=spec.name,
            passed=last.passed,
            severity=last.severity,
            description=last.description,
            metadata=dict(last.metadata),
        )

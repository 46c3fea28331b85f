"""The prediction asset of one task, which runs `score_table` and reports the result."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from sparktorch_assets.errors import AuditFailedError, TableError, TooManyFailedRowsError, nearest
from sparktorch_assets.orchestration.assets.checks import (
    prediction_check_specs,
    prediction_checks,
    refused_prediction_checks,
)
from sparktorch_assets.orchestration.assets.declared import remember
from sparktorch_assets.orchestration.assets.page.lineage import lineage_metadata, prediction_lineage, source_columns
from sparktorch_assets.orchestration.assets.page.metadata import WHERE_TIME_WENT, prediction_metadata
from sparktorch_assets.orchestration.assets.page.sampled_rows import sampled_rows
from sparktorch_assets.orchestration.assets.partitioned.prediction import predict_partitions
from sparktorch_assets.orchestration.assets.partitioned.versions import record_divided_input
from sparktorch_assets.orchestration.assets.run.failure import PlainFailure
from sparktorch_assets.orchestration.assets.run.run_settings import RunSettings
from sparktorch_assets.orchestration.assets.run.run_tags import tag_run
from sparktorch_assets.orchestration.assets.run.score_settings import code_version, score_settings
from sparktorch_assets.orchestration.assets.trial import try_run
from sparktorch_assets.orchestration.automation.schedules import refresh_tags, staleness_condition
from sparktorch_assets.orchestration.keys import (
    PREDICTIONS_GROUP,
    PREDICTIONS_POOL,
    model_key,
    named_prediction_key,
    op_name,
    prediction_key,
    source_key,
)
from sparktorch_assets.orchestration.partitions.definition import backfill_policy, partitions_definition
from sparktorch_assets.tasks import MlTask

if TYPE_CHECKING:
    from sparktorch_assets.orchestration.resources import LakeResource, SparkSource
    from sparktorch_assets.spark.score.report.report import Progress, ScoreReport

_SECONDS_BETWEEN_MESSAGES = 3.0


def build_prediction_asset(
    task: MlTask, *, promoted: str | None = None, rivals: Sequence[str] = ()
) -> dg.AssetsDefinition:
    """Build the asset `predictions/<task>`, with its checks.

    Args:
        task: the task that runs under this name.
        promoted: the task that it was promoted from, whose predictions are then refreshed first.
        rivals: the tasks in whose tables finished parts may be found.

    Raises:
        TaskError: a hook's module cannot be found.
    """
    # Dagster reads the types of parameters when the asset is made. Imported above, they would make `dg list components`
    # load pyspark.
    from sparktorch_assets.orchestration.resources import LakeResource, ModelLoaderResource, SparkSource

    key, divided = prediction_key(task), task.partitions
    spec = dg.AssetSpec(
        key,
        deps=[source_key(task), model_key(task), *([named_prediction_key(promoted)] if promoted else [])],
        description=task.description or f"Predictions of {task.name} over {task.input}.",
        group_name=PREDICTIONS_GROUP,
        kinds={"pytorch", "pyspark", "delta"},
        code_version=code_version(task),
        skippable=True,  # a trial publishes nothing
        partitions_def=None if divided is None else partitions_definition(divided, task.input),
        automation_condition=staleness_condition(),
        tags=refresh_tags(task),
        metadata={
            "output": task.output.kind,
            **({"labels": dg.MetadataValue.text(", ".join(task.labels))} if task.labels else {}),
            "features": dg.MetadataValue.text(", ".join(task.feature_columns)),
        },
    )

    # No retry policy: Spark retries its own tasks, most other failures would only happen again, and a second run reuses
    # the finished shards of the first.
    @dg.multi_asset(
        name=op_name(task),
        specs=[spec],
        check_specs=prediction_check_specs(task),
        backfill_policy=None if divided is None else backfill_policy(divided),
        pool=PREDICTIONS_POOL,
    )
    def predict(
        context: dg.AssetExecutionContext,
        config: RunSettings,
        spark: dg.ResourceParam[SparkSource],
        model_loader: dg.ResourceParam[ModelLoaderResource],
        lake: dg.ResourceParam[LakeResource],
    ) -> Iterator[Any]:
        with PlainFailure(key, context):
            this = config.applied_to(task)
            settings = score_settings(context, config, this, model_loader, lake)
            of_files = {
                "adopt_from": [lake.table_uri(named_prediction_key(rival)) for rival in rivals],
                "rescore": (context.run.root_run_id or context.run.run_id) if config.full_rescore else "",
            }
            if config.is_trial:
                yield from try_run(context, config, this, spark, lake, {**settings, **of_files})
            elif task.partitions is None:
                yield from _predict(context, this, spark, lake, settings, of_files)
            else:
                settings |= of_files
                yield from predict_partitions(context, this, spark, lake, settings, _report_to(context))

    return remember(predict, task)


def _predict(
    context: dg.AssetExecutionContext,
    task: MlTask,
    spark: "SparkSource",
    lake: "LakeResource",
    settings: Mapping[str, Any],
    of_files: Mapping[str, Any],
) -> Iterator[Any]:
    from sparktorch_assets.lake.table import Table

    record_divided_input(context, prediction_key(task), source_key(task))
    try:
        report = _score(context, task, spark, lake, settings, of_files)
    except (TooManyFailedRowsError, AuditFailedError) as error:
        yield from refused_prediction_checks(task, error)
        raise
    tag_run(context, task, [report])
    table = Table(report.table)
    rows = table.row_count()
    scored = f"{rows:,} rows in the table: {report.run_tally.rows:,} scored now, {report.tally.failed:,} failed"
    if report.tally.filtered:
        scored += f", {report.tally.filtered:,} rows of the input left out by `where`"
    if report.tally.dropped:
        scored += f", {report.tally.dropped:,} dropped by hooks"
    context.log.info(scored if report.changed else f"nothing changed: {rows:,} rows stay as they are")
    sources = source_columns(context.instance, source_key(task))
    lineage = prediction_lineage(task, table.schema.names, list(sources))
    metadata = prediction_metadata(
        task,
        report,
        schema=table.schema,
        table_rows=rows,
        preview=table.preview(task.preview_rows),
        sources=sources,
        lineage=lineage_metadata(context.instance, lineage),
        samples=sampled_rows(task, table, report),
    )
    if WHERE_TIME_WENT in metadata:
        context.log.info("%s", metadata[WHERE_TIME_WENT].value)
    yield dg.MaterializeResult(
        asset_key=prediction_key(task),
        data_version=dg.DataVersion(report.data_version),
        metadata=metadata,
        check_results=list(prediction_checks(task, report, rows)),
    )


def _score(
    context: dg.AssetExecutionContext,
    task: MlTask,
    spark: "SparkSource",
    lake: "LakeResource",
    settings: Mapping[str, Any],
    of_files: Mapping[str, Any],
) -> "ScoreReport":
    """Score the input's files or, if it never had any, the view or table of that name in the Spark session.

    Args:
        context: the context of the run.
        task: the asset's task.
        spark: the resource that has the session.
        lake: where the tables are.
        settings: further arguments, of all ways of scoring.
        of_files: further arguments for an input that has files.
    """
    from sparktorch_assets.lake.files.folder import Folder
    from sparktorch_assets.spark.score.dataframe import score_dataframe
    from sparktorch_assets.spark.score.table import score_table

    source = lake.table_uri(source_key(task))
    if Folder(source).exists():
        return score_table(
            lambda: spark.spark_session,
            source,
            task,
            on_progress=_report_to(context),
            **settings,
            **of_files,
        )
    session, view = spark.spark_session, ".".join(source_key(task).path)
    if not session.catalog.tableExists(view):
        raise TableError(
            f"task {task.name!r}: its input has no table at {source}, and the Spark session has no view or table "
            f"{view!r}; materialize {task.input!r} first, or correct its name; "
            f"{nearest(source_key(task).path[-1], lake.tables_beside(source_key(task)))}"
        )
    _require_no_scored_files(task, settings["output_table"], source, view)
    context.log.info("%r has no files to read: Spark reads it, and all of it is scored", view)
    return score_dataframe(session, session.table(view), task, **settings)


def _require_no_scored_files(task: MlTask, output_table: str, source: str, view: str) -> None:
    """If a folder is missing, a view that happens to have its name must not replace what was made from its files."""
    from sparktorch_assets.lake.parts.file import PART_NAME
    from sparktorch_assets.lake.table import Table

    if any(PART_NAME.fullmatch(path) for path in Table(output_table).snapshot.parts):
        raise TableError(
            f"task {task.name!r}: its predictions were made from files, and there is no table at {source} any more. The "
            f"Spark session has a view or table {view!r}, but scoring that would replace all of them. Bring the files "
            f"back; or, if {view!r} is the input from now on, delete {output_table} first"
        )


def _report_to(context: dg.AssetExecutionContext) -> Callable[["Progress"], None]:
    """Log progress every few seconds at first, then less often, since Dagster stores every message."""
    began = last = time.monotonic()

    def report(progress: "Progress") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= max(_SECONDS_BETWEEN_MESSAGES, (now - began) / 20):
            last = now
            context.log.info(str(progress))

    return report

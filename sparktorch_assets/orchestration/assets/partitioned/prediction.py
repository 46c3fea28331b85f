"""The run of a prediction asset over some of its partitions: one Spark job, one commit, and a report per partition.

A partition that is refused holds back no other. The others are published and reported as materialized, and then the run
fails, so that Dagster shows exactly the refused ones as failed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from sparktorch_assets.errors import AuditFailedError, PartitionsRefusedError, TableError
from sparktorch_assets.orchestration.assets.checks import prediction_checks, refused_prediction_checks
from sparktorch_assets.orchestration.assets.page.lineage import lineage_metadata, prediction_lineage, source_columns
from sparktorch_assets.orchestration.assets.page.metadata import prediction_metadata
from sparktorch_assets.orchestration.assets.page.sampled_rows import sampled_rows
from sparktorch_assets.orchestration.assets.partitioned.checks import of_partitions
from sparktorch_assets.orchestration.assets.partitioned.versions import made_from_now, version_of_several
from sparktorch_assets.orchestration.assets.run.run_tags import tag_run
from sparktorch_assets.orchestration.assets.run.score_settings import code_version
from sparktorch_assets.orchestration.automation.partition_events import DATA_VERSION
from sparktorch_assets.orchestration.keys import prediction_key, source_key
from sparktorch_assets.orchestration.partitions.of_run import partitions_of, retry_command
from sparktorch_assets.tasks import MlTask
from sparktorch_assets.tasks.partitions import TablePartition

if TYPE_CHECKING:
    from sparktorch_assets.lake.table import Table
    from sparktorch_assets.orchestration.resources import LakeResource, SparkSource
    from sparktorch_assets.spark.score.report.report import Progress, ScoreReport


def table_partitions(task: MlTask, keys: Sequence[str], source: str) -> tuple[TablePartition, ...]:
    """The partitions of the task's table with these keys.

    Args:
        task: a task with partitions.
        keys: keys of Dagster's.
        source: path or URI of the task's input.

    Raises:
        TableError: there is no such table.
        InputSchemaError: its columns do not fit the partitions.
    """
    from sparktorch_assets.lake.parquet.types import readable_schema
    from sparktorch_assets.lake.table import Table

    assert task.partitions is not None
    types = {column.name: str(column.type) for column in readable_schema(Table(source).schema)}
    return task.partitions.table_partitions(keys, types, f"task {task.name!r} on input {task.input!r}")


def predict_partitions(
    context: dg.AssetExecutionContext,
    task: MlTask,
    spark: "SparkSource",
    lake: "LakeResource",
    settings: Mapping[str, Any],
    on_progress: Callable[["Progress"], None],
) -> Iterator[Any]:
    """Score the run's partitions, and yield Dagster's events.

    Args:
        context: the context of the run.
        task: a task with partitions.
        spark: the resource that has the session.
        lake: where the tables are.
        settings: further arguments of `score_partitions`.
        on_progress: called every few seconds.
    """
    from sparktorch_assets.lake.files.folder import Folder
    from sparktorch_assets.lake.table import Table
    from sparktorch_assets.spark.score.partitions import score_partitions

    key, source = prediction_key(task), lake.table_uri(source_key(task))
    keys = partitions_of(context, key)
    if not Folder(source).exists():
        raise TableError(
            f"task {task.name!r}: its input has no table at {source}; materialize {task.input!r} first. A view or table of "
            f"the Spark session cannot be scored by partitions: leave `partitions` out, or write it to that folder"
        )
    partitions = table_partitions(task, keys, source)
    made_from = made_from_now(context, key, keys)
    try:
        reports = score_partitions(
            lambda: spark.spark_session, source, task, partitions=partitions, on_progress=on_progress, **settings
        )
    except PartitionsRefusedError as error:
        yield from _refused(context, task, partitions, made_from, error)
        raise
    except AuditFailedError as error:  # the model was refused, before anything was scored
        yield from refused_prediction_checks(task, error)
        raise
    table = Table(reports[0].table)
    tag_run(context, task, reports)
    _log(context, reports)
    pages = _pages(context.instance, task, table, partitions, reports, made_from)
    for partition, page in pages.items():
        context.add_asset_metadata(page, asset_key=key, partition_key=partition)
    yield dg.MaterializeResult(
        asset_key=key,
        data_version=dg.DataVersion(
            version_of_several({partition: str(page[DATA_VERSION]) for partition, page in pages.items()})
        ),
        check_results=of_partitions(_checks(task, table, partitions, reports)),
    )


def _refused(
    context: dg.AssetExecutionContext,
    task: MlTask,
    partitions: Sequence[TablePartition],
    made_from: Mapping[str, Any],
    error: PartitionsRefusedError,
) -> Iterator[dg.AssetCheckResult]:
    """Report the partitions that were published, and the checks; the step fails after this.

    A step that fails yields no result, and Dagster would count all of its partitions as failed. They are therefore
    reported as events of their own.
    """
    from sparktorch_assets.lake.table import Table

    key = prediction_key(task)
    published = {report.partition: report for report in error.published}
    done = [found for found in partitions if _scope(found) in published]
    reports = [published[_scope(found)] for found in done]
    results: dict[str, list[dg.AssetCheckResult]] = {
        partition: found
        for partition, reason in error.refused.items()
        if (found := list(refused_prediction_checks(task, reason)))
    }
    if reports:
        table = Table(reports[0].table)
        for partition, page in _pages(context.instance, task, table, done, reports, made_from).items():
            tags = {"dagster/data_version": str(page[DATA_VERSION]), "dagster/code_version": code_version(task)}
            context.log_event(dg.AssetMaterialization(key, metadata=page, partition=partition, tags=tags))
        results |= _checks(task, table, done, reports)
    _log(context, reports)
    for partition, reason in error.refused.items():
        context.log.error("%s was refused: %s\nTo try again: %s", partition, reason, retry_command(key, partition))
    for result in of_partitions(results):
        yield result._replace(asset_key=key)


def _pages(
    instance: dg.DagsterInstance,
    task: MlTask,
    table: "Table",
    partitions: Sequence[TablePartition],
    reports: Sequence["ScoreReport"],
    made_from: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    """Partition -> what its page shows."""
    rows, sources = table.row_count(), source_columns(instance, source_key(task))
    lineage = lineage_metadata(instance, _lineage(task, table.schema.names, list(sources), partitions[0]))
    pages: dict[str, dict[str, Any]] = {}
    for partition, report in zip(partitions, reports, strict=True):
        pages[partition.key] = {
            "dagster/partition_row_count": table.row_count(report.partition),
            **prediction_metadata(
                task,
                report,
                schema=table.schema,
                table_rows=rows,
                preview=table.preview(task.preview_rows, report.partition),
                sources=sources,
                lineage=lineage,
                samples=sampled_rows(task, table, report),
            ),
            DATA_VERSION: report.data_version,
            **made_from.get(partition.key, {}),
        }
    return pages


def _lineage(
    task: MlTask, columns: Sequence[str], input_columns: Sequence[str], partition: TablePartition
) -> dg.TableColumnLineage:
    """The lineage of the table's columns, with that of the partition column, which may be derived from another one."""
    lineage = prediction_lineage(task, columns, input_columns)
    conditions = sorted({condition.column for condition in partition.where})
    source = [dg.TableColumnDep(asset_key=source_key(task), column_name=column) for column in conditions]
    return dg.TableColumnLineage(deps_by_column={**lineage.deps_by_column, partition.column: source})


def _checks(
    task: MlTask, table: "Table", partitions: Sequence[TablePartition], reports: Sequence["ScoreReport"]
) -> dict[str, list[dg.AssetCheckResult]]:
    return {
        partition.key: list(prediction_checks(task, report, table.row_count(report.partition)))
        for partition, report in zip(partitions, reports, strict=True)
    }


def _log(context: dg.AssetExecutionContext, reports: Sequence["ScoreReport"]) -> None:
    changed = [report for report in reports if report.changed]
    if not changed:
        context.log.info("nothing changed in any of the run's partitions (%d)", len(reports))
        return
    context.log.info(
        "of the run's %d partitions, %d changed: %s rows scored now, %s failed",
        len(reports),
        len(changed),
        f"{sum(report.run_tally.rows for report in changed):,}",
        f"{sum(report.tally.failed for report in changed):,}",
    )


def _scope(partition: TablePartition) -> tuple[tuple[str, str], ...]:
    return ((partition.column, partition.value),)

"""The asset of one input table: Spark reads the sources into a Delta table with declared types."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from sparktorch_assets.errors import RowsRejectedError, RowsVanishedError
from sparktorch_assets.orchestration.assets.checks import (
    REJECTED_SHARE,
    ROWS_VANISHED,
    input_check_specs,
    refused_check,
    rejected_check,
    vanished_check,
)
from sparktorch_assets.orchestration.assets.declared import remember
from sparktorch_assets.orchestration.assets.page.metadata import input_metadata
from sparktorch_assets.orchestration.assets.partitioned.input import divide_input
from sparktorch_assets.orchestration.assets.run.failure import PlainFailure
from sparktorch_assets.orchestration.keys import INPUTS_GROUP, WATCH_TAG, input_key, input_pool
from sparktorch_assets.orchestration.partitions.definition import backfill_policy, partitions_definition
from sparktorch_assets.orchestration.partitions.of_run import partitions_of
from sparktorch_assets.tasks import DynamicPartitions, InputTable
from sparktorch_assets.tasks.digest import digest_of

if TYPE_CHECKING:
    from sparktorch_assets.orchestration.resources import LakeResource, SparkSource

PREVIEW_ROWS = 10
_SHORT_DIGEST = 12


def build_input_asset(table: InputTable) -> dg.AssetsDefinition:
    """Build the asset that has the table's name, with its checks."""
    # Dagster reads the types of parameters when the asset is made. Imported above, they would make `dg list components`
    # load pyspark.
    from sparktorch_assets.orchestration.resources import LakeResource, SparkSource

    key = input_key(table.name)
    # What registers partitions cannot have them itself.
    divided = None if isinstance(table.partitions, DynamicPartitions) else table.partitions

    @dg.multi_asset(
        name=f"read_{table.name}",
        specs=[
            dg.AssetSpec(
                key,
                description=table.description or f"{table.name}, read from {', '.join(table.patterns)}.",
                group_name=INPUTS_GROUP,
                kinds={"pyspark", "delta", table.format},
                code_version=digest_of([table.typed_columns, table.options, table.format, table.source])[
                    :_SHORT_DIGEST
                ],
                tags={WATCH_TAG: "yes"},
                partitions_def=None if divided is None else partitions_definition(divided),
            )
        ],
        check_specs=input_check_specs(key),
        backfill_policy=None if divided is None else backfill_policy(divided),
        pool=input_pool(table.name),
    )
    def read(
        context: dg.AssetExecutionContext,
        spark: dg.ResourceParam[SparkSource],
        lake: dg.ResourceParam[LakeResource],
    ) -> Iterator[Any]:
        with PlainFailure(key, context):
            yield from _read(context, table, spark, lake)

    return remember(read, table)


def _read(
    context: dg.AssetExecutionContext, table: InputTable, spark: "SparkSource", lake: "LakeResource"
) -> Iterator[Any]:
    from sparktorch_assets.lake.table import Table
    from sparktorch_assets.spark.inputs.materialize import materialize_input

    key = input_key(table.name)
    keys = partitions_of(context, key) if context.assets_def.partitions_def else ()
    try:
        report = materialize_input(
            lambda: spark.spark_session,
            table,
            project_root=lake.project_path,
            table_uri=lake.table_uri(key),
            run_id=context.run.run_id,
        )
    except RowsRejectedError as error:
        yield refused_check(key, REJECTED_SHARE, table.max_rejected_share, str(error))
        raise
    except RowsVanishedError as error:
        yield refused_check(key, ROWS_VANISHED, table.max_vanished_share, str(error))
        raise
    summary = (
        f"{report.rows:,} rows: {report.files_new} files new, {report.files_unchanged} unchanged, "
        f"{report.files_removed} removed; {report.rejected_rows:,} malformed rows put aside"
    )
    context.log.info(summary)
    if not report.rows:
        context.log.warning(
            "%s has no rows: its source files (%s) hold none. Is a header all that is in them, or does an option such as "
            "header or comment not fit them?",
            table.name,
            ", ".join(table.patterns),
        )
    written = Table(report.uri)
    divided = divide_input(table, written, keys, context)
    yield dg.MaterializeResult(
        asset_key=key,
        data_version=dg.DataVersion(divided.data_version or report.data_version),
        metadata={**input_metadata(table, report, written.schema, written.preview(PREVIEW_ROWS)), **divided.metadata},
        check_results=[rejected_check(table, report), vanished_check(table, report)],
    )

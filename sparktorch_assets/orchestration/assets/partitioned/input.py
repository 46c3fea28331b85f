"""How the rows of an input table are distributed over its partitions, reported when the table is materialized.

Materializing any of the partitions brings the whole table up to date, since a source file may hold rows of any.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg

from sparktorch_assets.orchestration.assets.partitioned.versions import version_of_several
from sparktorch_assets.orchestration.automation.partition_events import DATA_VERSION
from sparktorch_assets.orchestration.keys import input_key
from sparktorch_assets.orchestration.partitions.definition import dynamic_name, partitions_definition
from sparktorch_assets.tasks import DynamicPartitions, InputTable
from sparktorch_assets.tasks.partitions import unusable_as_key

if TYPE_CHECKING:
    from sparktorch_assets.lake.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class DividedInput:
    """What is reported of the whole table."""

    data_version: str | None = None
    """The version of the run's partitions together; `None`: that of the table."""
    metadata: Mapping[str, Any] = field(default_factory=dict)


def divide_input(
    table: InputTable, written: "Table", keys: Sequence[str], context: dg.AssetExecutionContext
) -> DividedInput:
    """Report the rows of each of the run's partitions, and those that are in none.

    Values of dynamic partitions that are new are registered.

    Args:
        table: the declaration.
        written: the table as it is now.
        keys: the partitions that the run is for; none if Dagster does not divide the asset.
        context: the context of the run.
    """
    if table.partitions is None:
        return DividedInput()
    if isinstance(table.partitions, DynamicPartitions):
        return _register(table, table.partitions, written, context)
    from sparktorch_assets.lake.rows.partition_rows import divide_rows

    there = partitions_definition(table.partitions).get_partition_keys()
    types = {column.name: str(column.type) for column in written.schema}
    asked = table.partitions.table_partitions(there, types, f"InputTable {table.name!r}")
    divided = divide_rows(written, asked)
    for key in keys:
        found = divided.partitions[key]
        context.add_asset_metadata(
            {"dagster/partition_row_count": found.rows, DATA_VERSION: found.data_version},
            asset_key=input_key(table.name),
            partition_key=key,
        )
    _tell_outside(context, divided.outside)
    return DividedInput(
        data_version=version_of_several({key: divided.partitions[key].data_version for key in keys}),
        metadata={"rows_outside_partitions": divided.outside, "partitions": len(there)},
    )


def _register(
    table: InputTable, partitions: DynamicPartitions, written: "Table", context: dg.AssetExecutionContext
) -> DividedInput:
    from sparktorch_assets.lake.rows.partition_rows import count_values

    counts = count_values(written, partitions.column)
    usable = sorted(value for value in counts if value is not None and unusable_as_key(value) is None)
    name = dynamic_name(partitions, table.name)
    known = set(context.instance.get_dynamic_partitions(name))
    new = [value for value in usable if value not in known]
    if new:
        context.instance.add_dynamic_partitions(name, new)
    outside = counts.total() - sum(counts[value] for value in usable)
    _tell_outside(context, outside)
    return DividedInput(
        metadata={
            "rows_outside_partitions": outside,
            "partitions": len(known) + len(new),
            "new_partitions": len(new),
            # A partition whose rows are gone stays, so that its predictions can be refreshed, which removes them.
            "partitions_without_rows": len(known.difference(usable)),
        }
    )


def _tell_outside(context: dg.AssetExecutionContext, rows: int) -> None:
    if rows:
        context.log.warning("%s rows are in no partition, and tasks with partitions do not predict them", f"{rows:,}")

"""From declared partitions to Dagster's, and how many of them one run of a backfill takes."""

from typing import Any

import dagster as dg

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks import DynamicPartitions, Partitions, StaticPartitions


def partitions_definition(partitions: Partitions, input: str | None = None) -> dg.PartitionsDefinition[str]:  # noqa: A002  (as in MlTask)
    """Declared partitions as Dagster's, for assets of your own that are divided in the same way.

    Assets whose declarations are equal have equal definitions, which Dagster maps one to one.

    Args:
        partitions: the declaration of a task or an input table.
        input: for dynamic partitions, the input table whose asset registers the values, unless the declaration names it.

    Raises:
        TaskError: it cannot be known which asset registers the values of dynamic partitions.
    """
    if isinstance(partitions, StaticPartitions):
        return dg.StaticPartitionsDefinition(partitions.keys)
    if isinstance(partitions, DynamicPartitions):
        return dg.DynamicPartitionsDefinition(name=dynamic_name(partitions, input))
    kind: Any = {
        "month": dg.MonthlyPartitionsDefinition,
        "day": dg.DailyPartitionsDefinition,
        "hour": dg.HourlyPartitionsDefinition,
    }[partitions.by]
    divided: dg.PartitionsDefinition[str] = kind(
        start_date=str(partitions.start),
        end_date=None if partitions.end is None else str(partitions.end),
        timezone=partitions.timezone,
    )
    return divided


def dynamic_name(partitions: DynamicPartitions, input: str | None) -> str:  # noqa: A002
    """The name under which Dagster keeps the values: `sales.shop`.

    Raises:
        TaskError: as in `partitions_definition`.
    """
    registered_by = partitions.registered_by or input
    if registered_by is None or "/" in registered_by:
        raise TaskError(
            f"partitions by: dynamic of column {partitions.column!r}: the asset of an input table registers the values, and "
            f"{'no input is named' if registered_by is None else f'{registered_by!r} is none'}; name it: "
            f"registered_by: <input table>"
        )
    return f"{registered_by}.{partitions.column}"


def backfill_policy(partitions: Partitions) -> dg.BackfillPolicy:
    """One run for all partitions of a backfill, unless the declaration limits them."""
    if partitions.max_partitions_per_run is None:
        return dg.BackfillPolicy.single_run()
    return dg.BackfillPolicy.multi_run(partitions.max_partitions_per_run)

"""Checks that a table is partitioned as a refresh expects it."""

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.files.partition_values import Partition
from sparktorch_assets.lake.table import Table


def check_partitioning(table: Table, partition: Partition) -> None:
    """Raise `TableError` unless the table and the refresh have the same partition columns, or both have none.

    Args:
        table: the table, which need not exist.
        partition: one of the partitions that the refresh covers; `()` for the whole table.
    """
    wanted, found = [name for name, _ in partition], sorted(table.snapshot.partition_by)
    if table.version is not None and wanted != found:
        has = f"is partitioned by {', '.join(found)}" if found else "has no partitions"
        asked = f"partitions by {', '.join(wanted)}" if wanted else "the whole table at once"
        raise TableError(
            f"{table.uri!r} {has}, but this refresh covers {asked}; mixing both would lose or duplicate rows. Refresh "
            f"it as before, or start over: delete the table's folder, or give the task another name or table. Nothing "
            f"was deleted or changed"
        )

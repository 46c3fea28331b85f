"""A table is divided in one way: why it is not divided by month and region at once."""

from collections.abc import Mapping
from typing import Any

from sparktorch_assets.errors import TaskError


def refuse_several(partitions: Any, field: str) -> None:
    """Raise TaskError if several ways of dividing a table are given.

    Dagster can combine two, but a refresh would then compare and commit one partition per pair, most of which are small;
    and Dagster selects them in the UI by the product of both, so that a backfill of one region is one of all months.
    """
    if isinstance(partitions, list | tuple | set) or (isinstance(partitions, Mapping) and "by" not in partitions):
        raise TaskError(
            f"{field} divides the table in several ways at once, as by month and by region. A table has one: every pair would "
            f"be a partition with parts and a record of its own, most of them small. Divide by the column that arrives or is "
            f"corrected piece by piece, usually time, and leave the other to a task's `where`, or to a task per value"
        )

"""Which row groups a task's `where` can leave unread: those whose own bounds show that no row of theirs passes."""

import math
from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq

from sparktorch_assets.tasks.row_filter import RowFilter


def may_match(group: pq.RowGroupMetaData, where: Sequence[RowFilter]) -> bool:
    """Whether a row of the group may pass all conditions; True whenever the footer does not settle it."""
    if not where:
        return True  # asked for every row group of every file
    columns = {group.column(index).path_in_schema: index for index in range(group.num_columns)}
    return all(_may_match(group.column(columns[test.column]), test) for test in where if test.column in columns)


def _may_match(column: pq.ColumnChunkMetaData, test: RowFilter) -> bool:
    # Single-precision bounds are left alone: rounding decides whether 0.1 lies within them.
    if column.physical_type == "FLOAT" or column.statistics is None:
        return True
    found = column.statistics
    if not found.has_min_max:
        # Without bounds there may be nothing but nulls, which pass no condition, or nothing but NaN.
        return not (found.has_null_count and found.num_values == 0 and found.null_count > 0)
    try:
        return _within(found.min, found.max, test, may_hold_nan=column.physical_type == "DOUBLE")
    except TypeError:  # a date's bounds against a string: rows are compared later, with a cast
        return True


def _within(low: Any, high: Any, test: RowFilter, *, may_hold_nan: bool) -> bool:
    value: Any = test.value
    if test.op in ("==", "in"):
        wanted = [one for one in (value if test.op == "in" else (value,)) if one is not None]
        # No bounds include NaN, which `in` finds all the same.
        return any(low <= one <= high or (isinstance(one, float) and math.isnan(one)) for one in wanted)
    if test.op in ("!=", "not in"):
        excluded = value if test.op == "not in" else (value,)
        return may_hold_nan or low != high or low not in excluded
    return bool({"<": low < value, "<=": low <= value, ">": high > value, ">=": high >= value}[test.op])

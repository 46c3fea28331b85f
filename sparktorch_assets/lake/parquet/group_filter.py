"""Finds the row groups that a task's `where` can skip: those whose bounds show that none of their rows passes.

Bounds mean what Parquet defines: no value is smaller or greater. They need not be values of the column, since writers
truncate long texts. Bounds that may mean anything else, and types whose values are rounded when they enter the table,
skip nothing.
"""

import json
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow.parquet as pq

from sparktorch_assets.tasks.row_test import RowTest

Bounds = tuple[Any, Any] | None


class GroupFilter:
    """The tests of a `where`, applied to the row groups of one file."""

    def __init__(self, footer: pq.FileMetaData, tests: Sequence[RowTest]) -> None:
        """Find the tests' columns in the file.

        Args:
            footer: the file's footer.
            tests: the tests, in the table's types, which may be wider than the file's.
        """
        self._footer = footer
        self._tests: list[tuple[RowTest, int, Callable[[Any], Bounds]]] = []
        if not tests:
            return
        leaves = {}
        for index in range(footer.num_columns):
            leaf = footer.schema.column(index)
            # A column's own name may contain a dot, as does the path of a struct's field, but only the latter is longer
            # than the name.
            if leaf.name == leaf.path and leaf.max_repetition_level == 0:
                leaves[leaf.name] = index
        for test in tests:
            if test.column in leaves:
                index = leaves[test.column]
                self._tests.append((test, index, _bounds_as(test, footer.schema.column(index))))

    def may_match(self, group: int) -> bool:
        """Whether a row of the group may pass all tests; true if the footer does not rule it out."""
        if not self._tests:
            return True  # a fast path, since this is called for every row group of every file
        found = self._footer.row_group(group)
        return all(_may_match(found, test, index, bounds) for test, index, bounds in self._tests)


def file_bounds(footer: pq.FileMetaData, test: RowTest) -> Bounds:
    """A value that no row of the file is below, and one that none is above, in the representation of the test's values;
    `None` if the footer does not tell, or if a row may be null."""
    found = GroupFilter(footer, [test])._tests  # noqa: SLF001  (of this module)
    if not found:
        return None
    ((_, index, bounds_of),) = found
    lows, highs = [], []
    for group in range(footer.num_row_groups):
        statistics = footer.row_group(group).column(index).statistics
        if statistics is None or not statistics.has_min_max or not statistics.has_null_count or statistics.null_count:
            return None
        bounds = bounds_of(statistics)
        if bounds is None or not bounds[0] <= bounds[1]:
            return None
        lows.append(bounds[0])
        highs.append(bounds[1])
    return (min(lows), max(highs)) if lows else None


def _may_match(group: pq.RowGroupMetaData, test: RowTest, index: int, bounds_of: Callable[[Any], Bounds]) -> bool:
    statistics = group.column(index).statistics
    if statistics is None:
        return True
    if statistics.has_null_count and statistics.null_count == group.num_rows:
        return False  # only nulls, for which no test holds
    if not statistics.has_min_max:
        return True
    bounds = bounds_of(statistics)
    # The comparison is false if a bound is NaN, as some writers leave it; then neither value is a bound.
    return bounds is None or not bounds[0] <= bounds[1] or _within(*bounds, test)


def _within(low: Any, high: Any, test: RowTest) -> bool:
    if test.op == "in":
        first = bisect_left(test.values, low)
        return first < len(test.values) and bool(test.values[first] <= high)
    if test.op == "not in":  # bounds do not reveal NaN, for which the test holds
        return test.kind in ("float", "double") or low != high or low not in test.values
    (value,) = test.values
    return bool({"<": low < value, "<=": low <= value, ">": high > value, ">=": high >= value}[test.op])


def _bounds_as(test: RowTest, leaf: pq.ColumnSchema) -> Callable[[Any], Bounds]:
    """The function that reads the leaf's bounds in the representation of the test's values."""
    logical = json.loads(leaf.logical_type.to_json())
    name, kind = logical["Type"], test.kind
    if kind == "timestamp" and name == "Timestamp":
        return {"milliseconds": _millis, "microseconds": _raw, "nanoseconds": _nanos}[logical["timeUnit"]]
    if name in ("None", "Int"):  # without a logical type, the physical one decides
        name = leaf.physical_type
    return _READERS.get((kind, name), lambda _: None)


def _plain(statistics: Any) -> Bounds:
    return statistics.min, statistics.max


def _raw(statistics: Any) -> Bounds:
    # Raw integers, unlike `min` and `max`, also cover years that Python's dates cannot represent.
    return statistics.min_raw, statistics.max_raw


def _as_double(statistics: Any) -> Bounds:
    return float(statistics.min), float(statistics.max)


def _millis(statistics: Any) -> Bounds:
    low, high = statistics.min_raw * 1000, statistics.max_raw * 1000
    return (low, high) if low >= -(2**63) and high < 2**63 else None  # else they overflow as microseconds


def _nanos(statistics: Any) -> Bounds:
    return _cut(statistics.min_raw), _cut(statistics.max_raw)


def _cut(nanos: int) -> int:
    """Nanoseconds as microseconds, truncated towards zero like Arrow's cast: -1,500 becomes -1."""
    return nanos // 1000 if nanos >= 0 else -(-nanos // 1000)


def _text(statistics: Any) -> Bounds:
    try:
        return statistics.min, statistics.max
    except UnicodeDecodeError:  # truncated within a character
        return None


_READERS: dict[tuple[str, str], Callable[[Any], Bounds]] = {
    ("whole", "INT32"): _plain,
    ("whole", "INT64"): _plain,
    ("decimal", "INT32"): _plain,
    ("decimal", "INT64"): _plain,
    ("decimal", "Decimal"): _plain,
    ("double", "INT32"): _as_double,
    ("double", "INT64"): _as_double,
    ("double", "FLOAT"): _plain,
    ("double", "DOUBLE"): _plain,
    ("float", "FLOAT"): _plain,
    ("boolean", "BOOLEAN"): _plain,
    ("binary", "BYTE_ARRAY"): _plain,
    ("binary", "FIXED_LEN_BYTE_ARRAY"): _plain,
    ("text", "String"): _text,
    ("date", "Date"): _raw,
}
"""(Kind of the test, type in the file) -> function that reads the bounds. INT96 and half floats have none."""

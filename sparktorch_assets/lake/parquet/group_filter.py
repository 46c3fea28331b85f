"""Finds the row groups that a task's `where` can skip: those whose bounds show that none of their rows passes. For
partitions, it also finds those whose bounds show that all of their rows pass.

Bounds mean what Parquet defines: no value is smaller or greater. They need not be values of the column, since writers
truncate long texts. Bounds that may mean anything else, and types whose values are rounded when they enter the table,
skip nothing.
"""

import json
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow.parquet as pq

from sparktorch_assets.tasks.row_test import RowTest

Bounds = tuple[Any, Any] | None


_ALL = -1
"""Stands for all row groups of a file."""


class FileBounds:
    """What the footer of one file says about the values of its columns in each row group. Each statement is looked up
    once, however many filters ask for it."""

    def __init__(self, footer: pq.FileMetaData) -> None:
        self._footer = footer
        self._found: dict[tuple[int, int, str], _Values] = {}

    @cached_property
    def leaves(self) -> dict[str, int]:
        """Top-level column -> its index in the file."""
        leaves = {}
        for index in range(self._footer.num_columns):
            leaf = self._footer.schema.column(index)
            # A column's own name may contain a dot, as does the path of a struct's field, but only the latter is longer
            # than the name.
            if leaf.name == leaf.path and leaf.max_repetition_level == 0:
                leaves[leaf.name] = index
        return leaves

    def values(self, group: int, index: int, test: RowTest) -> "_Values":
        """What is known about the values that `test` would see in a column of a row group."""
        key = (group, index, test.kind)
        if key not in self._found:
            found = self._footer.row_group(group)
            bounds_of = _bounds_as(test, self._footer.schema.column(index))
            self._found[key] = _values(found, found.column(index).statistics, bounds_of)
        return self._found[key]

    def values_in_all(self, index: int, test: RowTest) -> "_Values":
        """The same, for all row groups together."""
        key = (_ALL, index, test.kind)
        if key not in self._found:
            groups = [self.values(group, index, test) for group in range(self._footer.num_row_groups)]
            known = [values.bounds for values in groups if values.bounds is not None]
            told = len(known) == len([values for values in groups if not values.only_nulls])
            self._found[key] = _Values(
                only_nulls=all(values.only_nulls for values in groups),
                no_nulls=all(values.no_nulls for values in groups),
                bounds=(min(low for low, _ in known), max(high for _, high in known)) if known and told else None,
            )
        return self._found[key]

    def of_file(self, test: RowTest) -> Bounds:
        """A value that no row of the file is below, and one that none is above, in the representation of the test's
        values; `None` if the footer does not tell, or if a row may be null."""
        index = self.leaves.get(test.column)
        if index is None:
            return None
        found = self.values_in_all(index, test)
        return found.bounds if found.no_nulls else None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Values:
    """What is known about the values of one column in one row group."""

    only_nulls: bool = False
    no_nulls: bool = False
    bounds: Bounds = None
    """No value is smaller or greater; `None` if there are no bounds that can be trusted."""


def _values(group: pq.RowGroupMetaData, statistics: Any, bounds_of: Callable[[Any], Bounds]) -> _Values:
    if statistics is None:
        return _Values()
    bounds = bounds_of(statistics) if statistics.has_min_max else None
    # The comparison is false if a bound is NaN, as some writers leave it; then neither value is a bound.
    if bounds is not None and not bounds[0] <= bounds[1]:
        bounds = None
    counted = statistics.has_null_count
    return _Values(
        only_nulls=counted and statistics.null_count == group.num_rows,
        no_nulls=counted and statistics.null_count == 0,
        bounds=bounds,
    )


class GroupFilter:
    """Tests, applied to the row groups of one file."""

    def __init__(self, file: FileBounds, tests: Sequence[RowTest]) -> None:
        """Find the tests' columns in the file.

        Args:
            file: the bounds of the file's columns.
            tests: the tests, in the table's types, which may be wider than the file's.
        """
        self._file = file
        self._tests = [(test, file.leaves[test.column]) for test in tests if test.column in file.leaves]
        self._sees_all = len(self._tests) == len(tests)

    def may_match_any(self) -> bool:
        """Whether a row of the file may pass all tests. Cheaper than to ask for each row group, if the file is asked
        for many partitions and holds few of them."""
        return all(_may_match(self._file.values_in_all(index, test), test) for test, index in self._tests)

    def may_match(self, group: int) -> bool:
        """Whether a row of the group may pass all tests; true if the footer does not rule it out."""
        return all(_may_match(self._file.values(group, index, test), test) for test, index in self._tests)

    def all_match(self, group: int) -> bool:
        """Whether the footer shows that every row of the group passes all tests."""
        return self._sees_all and all(
            _all_match(self._file.values(group, index, test), test) for test, index in self._tests
        )


def _may_match(values: _Values, test: RowTest) -> bool:
    if values.only_nulls:
        return False  # no test holds for a null
    return values.bounds is None or within_bounds(*values.bounds, test)


def _all_match(values: _Values, test: RowTest) -> bool:
    if values.bounds is None or not values.no_nulls or test.kind in ("float", "double"):
        return False  # bounds of floating-point numbers do not reveal NaN
    low, high = values.bounds
    if test.op == "in":
        return bool(low == high) and low in test.values
    if test.op == "not in":
        return not any(low <= value <= high for value in test.values)
    (value,) = test.values
    return bool({"<": high < value, "<=": high <= value, ">": low > value, ">=": low >= value}[test.op])


def within_bounds(low: Any, high: Any, test: RowTest) -> bool:
    """Whether a value from `low` to `high`, in the representation of the test's values, may pass the test."""
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

"""How the rows of a table are distributed over partitions that it is not stored by: how many each has, which parts may
hold them, and how many rows are in none.

A part that lies wholly in one partition, as its bounds tell, is counted without being read; of any other, the one
column that divides is read.
"""

import hashlib
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.log.snapshot import data_version_of
from sparktorch_assets.lake.parquet.footers import Footer, read_footers
from sparktorch_assets.lake.parquet.group_filter import Bounds, FileBounds
from sparktorch_assets.lake.table import Table, read_file
from sparktorch_assets.tasks.partitions import TablePartition
from sparktorch_assets.tasks.row_test import RowTest, row_tests

_BATCH_ROWS = 1 << 18


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionRows:
    """The rows of one partition."""

    rows: int
    data_version: str
    """A hash of the parts that may hold the partition's rows, of what was deleted of them, and of the table's columns. If
    it is the same, so are the rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DividedRows:
    """The rows of a table, by partition."""

    partitions: Mapping[str, PartitionRows]
    """Key -> its rows, for every partition that was asked for."""
    outside: int
    """Rows that are in none of the partitions: of another time or value, or null."""


def divide_rows(table: Table, partitions: Sequence[TablePartition]) -> DividedRows:
    """Count the rows of each partition.

    Args:
        table: the table.
        partitions: partitions by the same column, which do not overlap.

    Raises:
        TableError: the table cannot be read.
        InputSchemaError: its column does not fit the partitions' conditions.
    """
    total = table.row_count()
    if not partitions:
        return DividedRows(partitions={}, outside=total)
    windows = _Windows(table, partitions)
    rows, parts = Counter[int](), [set[str]() for _ in partitions]
    for file, footer in zip(table.files, read_footers(table.files, bounds=True), strict=True):
        if not footer.rows:
            continue
        bounds = windows.bounds(file, footer)
        held = windows.between(bounds)
        for index in held:
            parts[windows.order[index]].add(_content(file))
        if bounds is not None and not held:
            continue
        if len(held) == 1 and windows.covers(held[0], bounds):
            rows[windows.order[held[0]]] += _kept_rows(file, footer)
        else:
            for index, count in windows.count(file):
                rows[windows.order[index]] += count
    schema = table.snapshot.schema
    return DividedRows(
        partitions={
            partition.key: PartitionRows(rows=rows[place], data_version=data_version_of(parts[place], schema))
            for place, partition in enumerate(partitions)
        },
        outside=total - sum(rows.values()),
    )


def count_values(table: Table, column: str) -> Counter[str | None]:
    """How many rows have each value of a column of text, whole numbers or dates; values as text, `None` for null.

    Raises:
        TableError: the table cannot be read.
    """
    counts = Counter[str | None]()
    wanted = pa.schema([table.schema.field(column)])
    for file in table.files:
        for batch in read_file(file, wanted, _BATCH_ROWS):
            for pair in pc.value_counts(batch.column(0)):
                value = pair["values"].as_py()
                counts[None if value is None else str(value)] += pair["counts"].as_py()
    return counts


def _content(file: DataFile) -> str:
    """What stands for the file's rows in data versions: its path and, if the table has deleted some, which."""
    return file.path + (f"\0{hashlib.sha256(file.deleted).hexdigest()}" if file.deleted else "")


def _kept_rows(file: DataFile, footer: Footer) -> int:
    return footer.rows - int.from_bytes(file.deleted, "little").bit_count()


class _Windows:
    """The partitions in the order of their values, each from its lowest to its highest value, both inclusive."""

    def __init__(self, table: Table, partitions: Sequence[TablePartition]) -> None:
        types = {column.name: str(column.type) for column in table.schema}
        tests = [row_tests(partition.where, types, table.uri) for partition in partitions]
        spans = sorted((*span, place) for place, found in enumerate(tests) if (span := _span(found)) is not None)
        self.lows = [low for low, _, _ in spans]
        self.highs = [high for _, high, _ in spans]
        self.order = [place for _, _, place in spans]
        """The places of the partitions, sorted by their values."""
        self.test: RowTest = tests[0][0]
        self._column = pa.schema([table.schema.field(self.test.column)])

    def bounds(self, file: DataFile, footer: Footer) -> Bounds:
        """The bounds of the file's values, if it tells them."""
        found = FileBounds(footer.metadata())
        return next((found.of_file(test) for test in file.stored_tests([self.test])), None)

    def between(self, bounds: Bounds) -> range:
        """The partitions that a file with these bounds may have rows of."""
        if bounds is None:
            return range(len(self.lows))
        return range(bisect_left(self.highs, bounds[0]), bisect_right(self.lows, bounds[1]))

    def covers(self, index: int, bounds: Bounds) -> bool:
        """Whether all values between the bounds are of that partition."""
        return bounds is not None and bool(self.lows[index] <= bounds[0] and bounds[1] <= self.highs[index])

    def count(self, file: DataFile) -> Iterator[tuple[int, int]]:
        """The rows of the file in each partition that it has rows of."""
        for batch in read_file(file, self._column, _BATCH_ROWS):
            values = batch.column(0).drop_null()
            if self.test.kind == "text":
                yield from _places(self.lows, pc.value_counts(values))
            else:
                yield from self._of_numbers(_as_numbers(values))

    def _of_numbers(self, values: np.ndarray) -> Iterable[tuple[int, int]]:
        lows, highs = np.array(self.lows, np.int64), np.array(self.highs, np.int64)
        places = np.searchsorted(lows, values, side="right") - 1
        inside = places[(places >= 0) & (values <= highs[places])]
        found, counts = np.unique(inside, return_counts=True)
        return zip(found.tolist(), counts.tolist(), strict=True)


def _span(tests: Sequence[RowTest]) -> tuple[Any, Any] | None:
    """The lowest and the highest value for which the tests hold: of one value, or of a half-open window of whole
    numbers. `None` if the column cannot hold the value."""
    if tests[0].op == "in":
        return (tests[0].values[0],) * 2 if tests[0].values else None
    bounds = {test.op: test.values[0] for test in tests}
    return bounds[">="], bounds["<"] - 1


def _as_numbers(values: pa.Array) -> np.ndarray:
    """Whole numbers, dates or times in the representation of tests."""
    kind = values.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        values = values.cast(pa.timestamp("us", kind.tz), safe=False)
    if pa.types.is_date(kind):
        values = values.cast(pa.int32())
    numbers: np.ndarray = values.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return numbers


def _places(keys: Sequence[str], counted: pa.StructArray) -> Iterator[tuple[int, int]]:
    for value, rows in zip(*(counted.field(name).to_pylist() for name in ("values", "counts")), strict=True):
        place = bisect_left(keys, value)
        if place < len(keys) and keys[place] == value:
            yield place, rows

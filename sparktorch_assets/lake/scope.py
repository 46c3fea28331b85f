"""What a refresh covers: the whole table or some of its partitions, and which of the input's files they need."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa

from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.files.partition_values import Partition, canonical_value
from sparktorch_assets.lake.parquet.group_filter import within_bounds
from sparktorch_assets.tasks.row_test import Kind, RowTest


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """The whole table, or one of its partitions."""

    digest: str
    """A hash of everything that the output depends on, except the rows: model, task, output schema, partition."""
    partition: Partition = ()
    """The partition of the output to which the parts belong; empty for the whole table."""
    tests: tuple[RowTest, ...] = ()
    """The tests that select the partition's rows of the input."""


class ScopeIndex:
    """Finds the scopes of which a file may hold rows by the partition values of the file."""

    def __init__(self, scopes: Iterable[Scope], columns: pa.Schema) -> None:
        """Index the scopes.

        Args:
            scopes: partitions by the same columns, or only the whole table.
            columns: the output's columns. Values are compared in their types, so `05` equals the number 5.
        """
        self._scopes, self._columns = tuple(scopes), columns
        self._names = {name for scope in self._scopes for name, _ in scope.partition}
        self._found: dict[tuple[str, ...], dict[Partition, list[Scope]]] = {}
        """For each set of columns whose values a file may have: values -> scopes."""

    def scopes_of(self, file: DataFile) -> list[Scope]:
        """The scopes that none of the file's partition values contradicts.

        Raises:
            InputSchemaError: one of the values is not valid for its column's type.
        """
        known = tuple(
            (name, canonical_value(name, value, self._columns.field(name).type))
            for name, value in file.partition
            if name in self._names
        )
        names = tuple(name for name, _ in known)
        if names not in self._found:
            grouped: dict[Partition, list[Scope]] = {}
            for scope in self._scopes:
                grouped.setdefault(tuple(item for item in scope.partition if item[0] in names), []).append(scope)
            self._found[names] = grouped
        fitting = self._found[names].get(known, [])
        outside = dict(file.partition)
        if not outside:
            return fitting
        return [scope for scope in fitting if all(_may_hold(test, outside) for test in scope.tests)]

    def need_bounds(self, files: Iterable[DataFile]) -> bool:
        """Whether the tests of the scopes concern columns inside any of the files, whose footers tell their bounds."""
        tested = {test.column for scope in self._scopes for test in scope.tests}
        return bool(tested) and any(not tested <= dict(file.partition).keys() for file in files)


def decided_by_values(file: DataFile, tests: Sequence[RowTest]) -> bool:
    """Whether those of the tests that concern the file's partition values hold for all of its rows, if `ScopeIndex`
    has not ruled the file out."""
    outside = dict(file.partition)
    return all(test.kind in _CONSTANTS for test in tests if test.column in outside)


def _may_hold(test: RowTest, values: dict[str, str | None]) -> bool:
    if test.column not in values or test.kind not in _CONSTANTS:
        return True
    text = values[test.column]
    if text is None:
        return False
    try:
        value = _constant(test.kind, text)
    except pa.ArrowInvalid:
        return True  # whoever reads the file reports it
    return within_bounds(value, value, test)


_CONSTANTS: dict[Kind, tuple[pa.DataType, ...]] = {
    "text": (pa.string(),),
    "whole": (pa.int64(),),
    "date": (pa.date32(), pa.int32()),
}
"""Kind of a test -> the types through which a folder's text becomes the value that the test compares."""


@lru_cache(maxsize=4096)
def _constant(kind: Kind, text: str) -> Any:
    value = pa.scalar(text)
    for step in _CONSTANTS[kind]:
        value = value.cast(step)
    return value.as_py()

"""One Parquet file of a table, as its Delta log or its folder describes it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sparktorch_assets.lake.files.column_mapping import ColumnMapping
from sparktorch_assets.lake.files.partition_values import Partition
from sparktorch_assets.tasks.row_test import RowTest


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFile:
    """One Parquet file of a table. Path, size and modification time together are its identity."""

    uri: str
    """The URI or local path to open."""
    path: str
    """The path relative to the table's root, so that a file keeps its identity when the table is moved; absolute if it
    is so in the log."""
    size_bytes: int
    modified_ms: int
    partition: Partition = ()
    """Column -> value, for columns whose values are given by the path or the log."""
    rows: int | None = None
    """Number of rows in the file, including deleted ones; `None` if the log does not record it."""
    deleted: bytes = b""
    """The rows that the table deleted: one bit per row, lowest bit first; empty for none. Further rows are kept."""
    mapping: ColumnMapping | None = None
    """How to find the table's columns in the file; `None` if they have the same names there."""
    logged_path: str = ""
    """The path as it is in the log, URL-encoded; a commit that removes the file must use this form. Empty for a file of
    a folder without a log."""

    def stored_tests(self, tests: Sequence[RowTest]) -> tuple[RowTest, ...]:
        """The tests that the file's own bounds may decide, with the file's names for the columns."""
        outside = dict(self.partition)
        inside = tuple(test for test in tests if test.column not in outside)
        return inside if self.mapping is None else self.mapping.stored_tests(inside)

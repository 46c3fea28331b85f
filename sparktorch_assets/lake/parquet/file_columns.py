"""Converts a file's columns to the table's: they are found by name, cast if the file's type differs, and null if the
file is older than the column. A column that cannot be read correctly is refused."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.parquet.calendar import check_calendar, has_older_calendar
from sparktorch_assets.lake.parquet.stored_schema import stored_schema
from sparktorch_assets.lake.parquet.types import cast_column, holds_all


class FileColumns:
    """The columns of one file, for a reader of some of the table's columns."""

    def __init__(
        self, file: DataFile, footer: pq.FileMetaData, wanted: pa.Schema, *, before: "FileColumns | None" = None
    ) -> None:
        """Find the columns.

        Args:
            file: the file.
            footer: the file's footer.
            wanted: the wanted columns, in the table's types.
            before: another file's columns, for the same `wanted`. If this file has equal ones, they are taken over: in
                a table of thousands of small files, to find them takes a quarter of the time.

        Raises:
            TableError: the file has none of the wanted columns, or one whose values the table's type cannot hold, or
                one whose name occurs twice or in another case.
        """
        self._file, self._wanted = file, wanted
        self._older_calendar = has_older_calendar(footer)
        stored = stored_schema(footer)
        self.found_for = file.partition, file.mapping, wanted, stored
        """All that decides which columns are read, and how."""
        if before is not None and before.found_for == self.found_for:
            self._partition, self._sources, self.names, self.unread = before.found
            return
        self._partition = _partition_values(file, wanted)
        fields = list(stored) if file.mapping is None else file.mapping.logical(stored)
        occurrences, wanted_names = Counter(stored.names), frozenset(wanted.names)  # pyarrow makes `names` anew
        found: dict[str, tuple[str, pa.DataType]] = {}
        for raw, field in zip(stored, fields, strict=True):
            if field is None or field.name in self._partition or field.name not in wanted_names:
                continue
            if field.name in found or occurrences[raw.name] > 1:
                raise TableError(
                    f"{file.uri!r} has more than one column {raw.name!r}; write it again with distinct names"
                )
            found[field.name] = raw.name, field.type
        self._sources = [found.get(column.name) for column in wanted]
        self._check(found, [field.name for field in fields if field is not None])
        self.names = [name for name, _ in found.values()]
        """The columns to read, by their names in the file."""
        self.unread = set(stored.names) - set(self.names)
        """The file's other columns."""

    @property
    def found(self) -> tuple[dict[str, Any], list[tuple[str, pa.DataType] | None], list[str], set[str]]:
        """What the columns of another file take over."""
        return self._partition, self._sources, self.names, self.unread

    def conform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Convert a batch with the columns `names` to one with exactly the wanted columns.

        Raises:
            TableError: a value does not fit into the table's type, or would be read as another day.
        """
        if self._older_calendar:
            check_calendar(batch, self._file.uri)
        if not self._partition and self._file.mapping is None and batch.schema.equals(self._wanted):
            return batch
        columns = [
            self._column(batch, column, source) for column, source in zip(self._wanted, self._sources, strict=True)
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self._wanted)

    def _column(self, batch: pa.RecordBatch, column: pa.Field, source: tuple[str, pa.DataType] | None) -> pa.Array:
        if column.name in self._partition:
            return pa.repeat(self._partition[column.name], batch.num_rows)
        if source is None:
            return pa.nulls(batch.num_rows, column.type)
        name, named_type = source
        array = batch.column(name)
        if self._file.mapping is not None and pa.types.is_nested(named_type):
            array = array.view(named_type)  # the same values under the table's names
        try:
            return cast_column(array, column.type)
        except pa.ArrowInvalid as error:
            raise TableError(
                f"{self._file.uri!r}: column {column.name!r} is {named_type} there and {column.type} in the table, and "
                f"holds a value that does not fit; write the file again in the table's type"
            ) from error

    def _check(self, found: Mapping[str, tuple[str, pa.DataType]], names: list[str]) -> None:
        uri = self._file.uri
        known = found.keys() | self._partition.keys()
        missing = [column.name for column in self._wanted if column.name not in known]
        spelled = {name.lower(): name for name in names}
        for name in missing:
            if name.lower() in spelled:
                raise TableError(
                    f"{uri!r} has the column {spelled[name.lower()]!r} where the table has {name!r}; write the file "
                    f"again with the table's spelling"
                )
        if missing and not found:
            raise TableError(
                f"{uri!r} has none of the columns that are read from the table ({', '.join(map(repr, missing))}); it "
                f"has {', '.join(map(repr, names)) or 'none'}. If it is another table's file, remove it; or rewrite it"
            )
        for column in self._wanted:
            if column.name in found and not holds_all(column.type, found[column.name][1]):
                raise TableError(
                    f"{uri!r}: column {column.name!r} is {found[column.name][1]} there and {column.type} in the table; "
                    f"write the file again in the table's type"
                )


def _partition_values(file: DataFile, wanted: pa.Schema) -> dict[str, Any]:
    """The values, as scalars, of the wanted columns that are given by the file's path or by the log. As in Spark, they
    take precedence over a column of the same name inside the file."""
    values = {}
    for name, text in file.partition:
        if name not in wanted.names:
            continue
        kind = wanted.field(name).type
        try:
            values[name] = pa.scalar(text, pa.string()).cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise TableError(
                f"{file.uri!r}: the partition's value {name}={text} is not a valid {kind}, the type of column {name!r}"
            ) from error
    return values

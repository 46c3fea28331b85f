"""How one file's columns become the table's: found by name, cast where the file's type differs, null where the file is
older than the column. What cannot be read right is refused."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.data_files import DataFile
from sparktorch_assets.lake.parquet.calendar import check_calendar, has_older_calendar
from sparktorch_assets.lake.parquet.stored_schema import stored_schema
from sparktorch_assets.lake.parquet.types import cast_column, holds_all


class FileColumns:
    """The columns of one file, for a reader that wants some of the table's."""

    def __init__(self, file: DataFile, footer: pq.FileMetaData, wanted: pa.Schema) -> None:
        """Find the columns.

        Args:
            file: the file.
            footer: its footer.
            wanted: the columns that are wanted, in the table's types.

        Raises:
            TableError: the file has none of the wanted columns, or one of a type whose values the table's cannot hold, or
                a name twice or in other letters.
        """
        self._file, self._wanted = file, wanted
        self._older_calendar = has_older_calendar(footer)
        self._partition = _partition_values(file, wanted)
        stored = stored_schema(footer)
        fields = list(stored) if file.mapping is None else file.mapping.logical(stored)
        found: dict[str, tuple[str, pa.DataType]] = {}
        for raw, field in zip(stored, fields, strict=True):
            if field is None or field.name in self._partition or field.name not in wanted.names:
                continue
            if field.name in found or stored.names.count(raw.name) > 1:
                raise TableError(
                    f"{file.uri!r} has more than one column {raw.name!r}; write it again with distinct names"
                )
            found[field.name] = raw.name, field.type
        self._sources = [found.get(column.name) for column in wanted]
        self._check(found, [field.name for field in fields if field is not None])
        self.names = [name for name, _ in found.values()]
        """The columns to read, as the file names them."""

    def conform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A batch that was read with `names`, with exactly the wanted columns.

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
            array = array.view(named_type)  # the same values under other names
        try:
            return cast_column(array, column.type)
        except pa.ArrowInvalid as error:
            raise TableError(
                f"{self._file.uri!r}: column {column.name!r} is {named_type} there and {column.type} in the table, and holds "
                f"a value that does not fit; write the file again in the table's type"
            ) from error

    def _check(self, found: Mapping[str, tuple[str, pa.DataType]], names: list[str]) -> None:
        uri = self._file.uri
        missing = [column.name for column in self._wanted if column.name not in found.keys() | self._partition.keys()]
        spelled = {name.lower(): name for name in names}
        for name in missing:
            if name.lower() in spelled:
                raise TableError(
                    f"{uri!r} has the column {spelled[name.lower()]!r} where the table has {name!r}; write the file again "
                    f"with the table's spelling"
                )
        if missing and not found:
            raise TableError(
                f"{uri!r} has none of the columns that are wanted of the table ({', '.join(map(repr, missing))}); it has "
                f"{', '.join(map(repr, names)) or 'none'}. A file of another table? Take it away, or write it again"
            )
        for column in self._wanted:
            if column.name in found and not holds_all(column.type, found[column.name][1]):
                raise TableError(
                    f"{uri!r}: column {column.name!r} is {found[column.name][1]} there and {column.type} in the table; write "
                    f"the file again in the table's type"
                )


def _partition_values(file: DataFile, wanted: pa.Schema) -> dict[str, Any]:
    """The wanted columns that stand in the file's path or in the log, as scalars. They count more than a column of that name
    inside the file, as in Spark."""
    values = {}
    for name, text in file.partition:
        if name not in wanted.names:
            continue
        kind = wanted.field(name).type
        try:
            values[name] = pa.scalar(text, pa.string()).cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise TableError(
                f"{file.uri!r}: the partition's value {name}={text} is no {kind}, the type of column {name!r}"
            ) from error
    return values

"""Delta's column mapping: files keep the names, or the field ids, that columns had when they were created, and the
table's schema maps them to its current columns. Renaming or dropping a column then rewrites no file.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from sparktorch_assets.tasks.row_test import RowTest

_PHYSICAL, _ID, _PARQUET_ID = b"delta.columnMapping.physicalName", b"delta.columnMapping.id", b"PARQUET:field_id"


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnMapping:
    """How to find a table's columns in its files; the same for all files of a version."""

    mode: str
    """`name` or `id`."""
    schema: pa.Schema
    """The table's columns, whose metadata hold the names and field ids used in the files."""

    def logical(self, stored: pa.Schema) -> list[pa.Field | None]:
        """Each of the file's columns under the table's name, including fields of structs; `None` for a column that the
        table does not have, or no longer has."""
        known: dict[str | None, pa.Field] = {self._key(field): field for field in self.schema}
        return [self._renamed(field, known.get(self._stored_key(field))) for field in stored]

    def stored_tests(self, tests: Sequence[RowTest]) -> tuple[RowTest, ...]:
        """Tests on the table's columns as tests on the file's columns. In `id` mode, the names are not known without
        reading the file, so there are none and nothing is skipped."""
        if self.mode == "id":
            return ()
        return tuple(replace(test, column=self._key(self.schema.field(test.column))) for test in tests)

    def stored_names(self, columns: Sequence[str]) -> list[tuple[str, str]]:
        """Pairs of a column, or the path of a struct's field, and its name or field id in the files, for those of these
        columns that have another name there."""
        return [pair for name in columns for pair in self._stored_names(self.schema.field(name)) if pair[0] != pair[1]]

    def _stored_names(self, field: pa.Field) -> Iterator[tuple[str, str]]:
        yield field.name, self._key(field)
        for inner in _fields_within(field.type):
            yield from ((f"{field.name}.{path}", f"{field.name}.{key}") for path, key in self._stored_names(inner))

    def _key(self, field: pa.Field) -> str:
        metadata = field.metadata or {}
        return str(metadata.get(_ID if self.mode == "id" else _PHYSICAL, field.name.encode()), "utf-8")

    def _stored_key(self, field: pa.Field) -> str | None:
        if self.mode == "name":
            return str(field.name)
        found = (field.metadata or {}).get(_PARQUET_ID)
        return None if found is None else found.decode()

    def _renamed(self, stored: pa.Field, table: pa.Field | None) -> pa.Field | None:
        return None if table is None else pa.field(table.name, self._renamed_type(stored.type, table.type))

    def _renamed_type(self, stored: pa.DataType, table: pa.DataType) -> pa.DataType:
        if pa.types.is_struct(stored) and pa.types.is_struct(table):
            known: dict[str | None, pa.Field] = {self._key(field): field for field in table}
            # Fields that the table no longer has get names that it cannot have, so that they match none of its fields.
            return pa.struct(
                [
                    self._renamed(field, known.get(self._stored_key(field))) or field.with_name(f"\0{number}")
                    for number, field in enumerate(stored)
                ]
            )
        if pa.types.is_map(stored) and pa.types.is_map(table):
            return pa.map_(
                self._renamed_type(stored.key_type, table.key_type),
                stored.item_field.with_type(self._renamed_type(stored.item_type, table.item_type)),
            )
        if pa.types.is_list(stored) and pa.types.is_list(table):
            return pa.list_(stored.value_field.with_type(self._renamed_type(stored.value_type, table.value_type)))
        return stored


def _fields_within(kind: pa.DataType) -> Iterable[pa.Field]:
    if pa.types.is_map(kind):
        return kind.key_field, kind.item_field
    if pa.types.is_list(kind):
        return (kind.value_field,)
    return list(kind) if pa.types.is_struct(kind) else ()

"""Queries of a table's columns, version, number of rows and first rows."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sparktorch_assets.errors import InputSchemaError
from sparktorch_assets.lake.data_files import DataFile, list_data_files
from sparktorch_assets.lake.folder import Folder
from sparktorch_assets.lake.log.deletions import KeptRows, unpack_rows
from sparktorch_assets.lake.log.snapshot import data_version_of, open_delta, read_snapshot
from sparktorch_assets.lake.parquet.damage import damaged_file
from sparktorch_assets.lake.parquet.file_columns import FileColumns
from sparktorch_assets.lake.parquet.footers import read_footers
from sparktorch_assets.lake.parquet.types import check_names, comparable, holds_all


def table_schema(table: str) -> pa.Schema:
    """The table's columns: those in its Delta log, else the union of its Parquet files' columns.

    Raises:
        TableError: there is no such table, or it cannot be read correctly.
        InputSchemaError: its files disagree about a column's type, or its column names are not distinct.
    """
    delta = open_delta(table)
    if delta is not None:
        schema = pa.schema([field.remove_metadata() for field in pa.schema(delta.schema().to_arrow())])
        check_names(schema.names)
        return schema
    files = list_data_files(table)
    footers = read_footers(files)
    merged = merged_schema(dict(zip((file.path for file in files), (footer.schema for footer in footers), strict=True)))
    for name, _ in files[0].partition:
        if name not in merged.names:
            merged = merged.append(pa.field(name, pa.string()))
    check_names(merged.names)
    return merged


def merged_schema(schemas: Mapping[str, pa.Schema]) -> pa.Schema:
    """One schema for files that may lack some of each other's columns, or have narrower types for some.

    Args:
        schemas: path -> the file's columns.

    Raises:
        InputSchemaError: no single type holds all values of a column in all files, or a file's names are not distinct.
    """
    distinct: dict[pa.Schema, str] = {}
    for path, schema in schemas.items():
        distinct.setdefault(schema.remove_metadata(), path)
    for schema in distinct:
        check_names(schema.names)
    if len(distinct) == 1:
        return next(iter(distinct))
    columns: dict[str, pa.Field] = {}
    first: dict[str, str] = {}
    for schema, path in distinct.items():
        for field in map(comparable, schema):
            first.setdefault(field.name, path)
            columns[field.name] = _merged(columns.get(field.name, field), field, first[field.name], path)
    return pa.schema(list(columns.values()))


def _merged(known: pa.Field, field: pa.Field, known_path: str, path: str) -> pa.Field:
    if known.type == field.type:
        return known
    try:
        both = pa.unify_schemas([pa.schema([known]), pa.schema([field])], promote_options="permissive").field(0)
        if holds_all(both.type, known.type) and holds_all(both.type, field.type):
            return both
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        pass
    raise InputSchemaError(
        f"column {field.name!r} is {known.type} in {known_path!r} and {field.type} in {path!r}, and no type holds the "
        f"values of both unchanged. Write the files again with one type"
    )


def has_table(table: str) -> bool:
    """Whether there is anything at the table's address: a Delta table, a folder, or a file."""
    folder = Folder(table)
    return folder.is_folder() or folder.info() is not None


def table_version(table: str) -> int | None:
    """The Delta version that readers see; `None` if there is no Delta table."""
    delta = open_delta(table)
    return None if delta is None else int(delta.version())


def data_version(table: str) -> str:
    """A hash of the snapshot's part names and its schema: the same content-addressed parts give the same version."""
    snapshot = read_snapshot(table)
    return data_version_of(snapshot.parts, snapshot.schema)


def row_count(table: str) -> int:
    """The number of rows that readers see, from the log's statistics or, for files without any, from their footers."""
    files = list_data_files(table)
    untold = [file for file in files if file.rows is None]
    total = sum(footer.rows for footer in read_footers(untold)) + sum(file.rows or 0 for file in files)
    return total - sum(int.from_bytes(file.deleted, "little").bit_count() for file in files)


def preview(table: str, rows: int) -> list[dict[str, Any]]:
    """The first `rows` rows, in the order of the files' paths."""
    found: list[dict[str, Any]] = []
    schema = table_schema(table)
    for file in list_data_files(table) if rows > 0 else []:
        for batch in _read(file, schema, rows):
            found += batch.slice(0, rows - len(found)).to_pylist()
            if len(found) == rows:
                return found
    return found


def _read(file: DataFile, schema: pa.Schema, batch_rows: int) -> Iterator[pa.RecordBatch]:
    with (
        Folder(file.uri).open_input() as source,
        pq.ParquetFile(source, coerce_int96_timestamp_unit="us", page_checksum_verification=True) as parquet,
    ):
        columns = FileColumns(file, parquet.metadata, schema)
        kept = KeptRows(unpack_rows(file.deleted, parquet.metadata.num_rows if file.deleted else 0))
        batches = parquet.iter_batches(batch_size=batch_rows, columns=columns.names)
        while (batch := _next(file, batches)) is not None:
            yield columns.conform(kept.of_next(batch))


def _next(file: DataFile, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
    try:
        return next(batches, None)
    except (OSError, pa.ArrowException) as error:
        raise damaged_file(file.uri, error) from error

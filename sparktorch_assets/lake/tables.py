"""Questions about a table: its columns, version, number of rows, first rows."""

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sparktorch_assets.lake.data_files import list_data_files
from sparktorch_assets.lake.delta_types import conform
from sparktorch_assets.lake.folder import Folder
from sparktorch_assets.lake.footers import read_footers
from sparktorch_assets.lake.snapshot import data_version_of, open_delta, read_snapshot


def table_schema(table: str) -> pa.Schema:
    """The table's columns: from its Delta log, else what its Parquet files have together.

    Raises:
        TableError: there is no such table, or its files disagree about a column's type.
    """
    delta = open_delta(table)
    if delta is not None:
        return pa.schema(delta.schema().to_arrow())
    files = list_data_files(table)
    return merged_schema([footer.schema for footer in read_footers(files)], files[0].partition)


def merged_schema(schemas: list[pa.Schema], partition: tuple[tuple[str, str], ...] = ()) -> pa.Schema:
    """One schema for files that may lack each other's columns; partition columns are strings, at the end."""
    distinct = list(dict.fromkeys(schema.remove_metadata() for schema in schemas))
    merged = distinct[0] if len(distinct) == 1 else pa.unify_schemas(distinct, promote_options="permissive")
    for name, _ in partition:
        if name not in merged.names:
            merged = merged.append(pa.field(name, pa.string()))
    return merged


def has_table(table: str) -> bool:
    """Whether anything lies there: a Delta table, a folder, or a file."""
    folder = Folder(table)
    return folder.is_folder() or folder.info() is not None


def table_version(table: str) -> int | None:
    """The Delta version that readers see; `None` where there is no Delta table."""
    delta = open_delta(table)
    return None if delta is None else int(delta.version())


def data_version(table: str) -> str:
    """A hash of the snapshot's part names and its schema: the same content-addressed parts give the same version."""
    snapshot = read_snapshot(table)
    return data_version_of(snapshot.parts, snapshot.schema)


def row_count(table: str) -> int:
    """The number of rows that readers see, from the log's statistics or the files' footers."""
    if open_delta(table) is not None:
        return read_snapshot(table).rows
    return sum(footer.rows for footer in read_footers(list_data_files(table)))


def preview(table: str, rows: int) -> list[dict[str, Any]]:
    """The first `rows` rows, in the order of the files' paths."""
    found: list[dict[str, Any]] = []
    schema = table_schema(table)
    for file in list_data_files(table) if rows > 0 else []:
        with Folder(file.uri).open_input() as source, pq.ParquetFile(source) as parquet:
            for batch in parquet.iter_batches(batch_size=rows - len(found)):
                found += conform(batch, schema, dict(file.partition)).to_pylist()
                break
        if len(found) >= rows:
            break
    return found[:rows]

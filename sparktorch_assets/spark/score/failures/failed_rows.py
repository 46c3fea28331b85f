"""`failed_rows`: the rows of a prediction table that have no prediction, each with its reason."""

from collections.abc import Iterable, Iterator
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.files.folder import Folder, FolderEntry
from sparktorch_assets.lake.files.partition_values import path_partition
from sparktorch_assets.lake.log.deletions import KeptRows, unpack_rows
from sparktorch_assets.lake.log.history import COMMIT, FIRST_COMMIT, actions_of
from sparktorch_assets.lake.parquet.file_columns import FileColumns
from sparktorch_assets.lake.parquet.footers import read_footers
from sparktorch_assets.lake.parts.damage import damaged_file
from sparktorch_assets.lake.parts.file import PART_NAME, verify_parts
from sparktorch_assets.lake.table import Table
from sparktorch_assets.lake.vacuum import own_files

_LIMIT = 1000
_BATCH_ROWS = 1 << 14
_ERROR = "prediction_error"


def failed_rows(table: str, *, uncommitted: bool = False, limit: int | None = _LIMIT) -> pa.Table:
    """The rows of a prediction table that failed, with all of the table's columns. `prediction_error` says why.

    After a `TooManyFailedRowsError` nothing is committed, but the finished parts stay in the table's folder:
    `failed_rows(table, uncommitted=True)` returns their failed rows.

    Args:
        table: path or URI of the prediction table's folder, such as `lake/predictions/digit`.
        uncommitted: read the finished parts that no version of the table ever listed, the newest first, instead of the
            table's current version. If the task was edited between two refreshes that failed, both have left parts; of
            these, parts with other columns than the newest one are left out.
        limit: the largest number of rows to return; `None` returns all.

    Raises:
        TableError: there is no such table, no uncommitted part, or a file cannot be read.
    """
    if limit is not None and limit < 0:
        raise TableError(f"failed_rows({table!r}): limit={limit!r} must not be below 0")
    found = Table(table)
    files, schema = _uncommitted(found) if uncommitted else _committed(found)
    error_column = _error_column(table, schema)
    rows = (row for file in files for row in failed_batches(file, schema, error_column))
    return pa.Table.from_batches(rows if limit is None else _first(rows, limit), schema=schema)


def failed_batches(file: DataFile, wanted: pa.Schema, error_column: str) -> Iterator[pa.RecordBatch]:
    """The wanted columns of a file's failed rows. Row groups without any are not read.

    Args:
        file: a part of a prediction table, or a file that Spark wrote for one.
        wanted: the columns to return, among them `error_column`.
        error_column: the column that is null for a row that did not fail.

    Raises:
        TableError: the file cannot be opened, or is damaged.
    """
    try:
        opened = Folder(file.uri).open_input()
    except OSError as error:
        raise TableError(
            f"{file.uri!r} cannot be opened: {error}. If it is lost, the next refresh of its table writes it again"
        ) from error
    with (
        opened as source,
        pq.ParquetFile(source, coerce_int96_timestamp_unit="us", page_checksum_verification=True) as parquet,
    ):
        footer = parquet.metadata
        columns = FileColumns(file, footer, wanted)
        # Deleted rows are counted over the whole file, so that no row group of a file with some may be left out.
        kept = KeptRows(unpack_rows(file.deleted, footer.num_rows if file.deleted else 0))
        groups = [
            group for group in range(footer.num_row_groups) if file.deleted or _may_fail(footer, group, error_column)
        ]
        try:
            for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, row_groups=groups, columns=columns.names):
                rows = columns.conform(kept.of_next(batch))
                failed = rows.filter(pc.is_valid(rows.column(error_column)))
                if failed.num_rows:
                    yield failed
        except (OSError, pa.ArrowException) as error:
            raise damaged_file(file.uri, error) from error


def part_files(folder: Folder, paths: Iterable[str]) -> list[DataFile]:
    """Files of the folder, as `failed_batches` reads them."""
    return [
        DataFile(uri=folder.uri_of(path), path=path, size_bytes=0, modified_ms=0, partition=path_partition(path))
        for path in paths
    ]


def _committed(table: Table) -> tuple[list[DataFile], pa.Schema]:
    if table.version is None:
        raise TableError(
            f"failed_rows: {table.uri!r} has no version yet. If a refresh failed and left rows there, uncommitted=True "
            f"returns them"
        )
    return table.files, table.schema


def _uncommitted(table: Table) -> tuple[list[DataFile], pa.Schema]:
    folder = table.folder
    entries = own_files(folder)
    log = [entry for entry in entries if COMMIT.fullmatch(entry.path)]
    listed = _ever_listed(folder, log) | table.snapshot.parts.keys()
    first = min(log, key=lambda entry: entry.path, default=None)
    # Of older parts, nobody knows whether the commits that are not in the log any more have listed them.
    since_ms = 0 if first is None or first.path == FIRST_COMMIT else first.modified_ms
    left = [
        entry
        for entry in entries
        if PART_NAME.fullmatch(entry.path) and entry.path not in listed and entry.modified_ms >= since_ms
    ]
    finished = verify_parts(folder, left)
    newest_first = sorted(finished, key=lambda path: (-finished[path][0].modified_ms, path))
    if not newest_first:
        raise TableError(
            f"failed_rows: {table.uri!r} holds no uncommitted part. Rows that are in the table are returned without "
            f"uncommitted=True; score_dataframe keeps nothing of a refresh that fails"
        )
    files = part_files(folder, newest_first)
    schemas = [footer.schema for footer in read_footers(files)]
    alike = [file for file, schema in zip(files, schemas, strict=True) if schema.equals(schemas[0])]
    outside = [pa.field(name, pa.string()) for name, _ in files[0].partition]
    return alike, pa.schema([*schemas[0], *outside])


def _ever_listed(folder: Folder, log: Iterable[FolderEntry]) -> set[str]:
    """The paths that the commits in the log add or remove: parts of earlier versions stay in the folder as well."""
    return {
        unquote(action[kind]["path"])
        for entry in log
        for action in actions_of(folder, entry.path)
        for kind in ("add", "remove")
        if kind in action
    }


def _error_column(table: str, schema: pa.Schema) -> str:
    """The table's own `prediction_error`, under its prefix: the last one, since kept columns of another task's
    predictions precede it."""
    found = [name for name in schema.names if name.endswith(_ERROR)]
    if not found:
        raise TableError(f"failed_rows: {table!r} has no column {_ERROR}, so it is not a table of predictions")
    return str(found[-1])


def _may_fail(footer: pq.FileMetaData, group: int, error_column: str) -> bool:
    for index in range(footer.num_columns):
        column = footer.row_group(group).column(index)
        if column.path_in_schema == error_column:
            bounds = column.statistics
            return bounds is None or not bounds.has_null_count or bounds.null_count < footer.row_group(group).num_rows
    return True


def _first(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    while rows > 0 and (batch := next(batches, None)) is not None:
        yield batch.slice(0, rows)
        rows -= min(rows, batch.num_rows)

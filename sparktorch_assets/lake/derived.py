"""Writes tables that an asset derives as a whole from other tables, by joins, counts or comparisons."""

import contextlib
import uuid

import pyarrow as pa
import pyarrow.parquet as pq

from sparktorch_assets.errors import CommitConflictError, TableError
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.log.commit import METADATA_PREFIX, commit_parts
from sparktorch_assets.lake.log.history import commit_infos
from sparktorch_assets.lake.parquet.nan_columns import columns_with_nan
from sparktorch_assets.lake.parquet.types import cast_column, storage_schema
from sparktorch_assets.lake.parts.file import PartFile, describe_part, publish_by_content
from sparktorch_assets.lake.table import Table

_MADE_FROM = "made_from"
_GROUP_ROWS = 131_072


def write_if_changed(table: str, rows: pa.Table, made_from: str) -> bool:
    """Replace the table's rows by `rows` in a new version, unless this function wrote its latest version with the same
    `made_from`.

    A file of that version that is missing or truncated is written again.

    Args:
        table: path or URI of the Delta table; created if it does not exist.
        rows: all of its rows.
        made_from: identifies everything that the rows depend on, such as a hash of the sources' data versions and the
            code.

    Returns:
        Whether there is a new version.

    Raises:
        CommitConflictError: another writer changed the table meanwhile, to other content. Nothing was committed.
        InputSchemaError: a column's type has no counterpart in Delta.
        TableError: the table cannot be written.
    """
    now = Table(table)
    before = now.snapshot
    unchanged = _made_from(now) == made_from
    if unchanged and not now.lost_parts():
        return False
    stored = _stored(rows)
    part = _write(now.folder, stored)
    known = before.parts.get(part.path)
    add = [] if known and known.size_bytes == part.size_bytes else [part]
    remove = [path for path in before.parts if path != part.path]
    if unchanged and not add and not remove:
        return False
    try:
        commit_parts(
            table,
            stored.schema,
            add=add,
            remove=remove,
            metadata={_MADE_FROM: made_from},
            read_version=before.version,
        )
    except CommitConflictError:
        if _made_from(Table(table)) == made_from:
            return False  # another run wrote the same content
        raise
    return True


def _stored(rows: pa.Table) -> pa.Table:
    schema = storage_schema(rows.schema)
    batches = (
        [cast_column(array, field.type) for array, field in zip(batch.columns, schema, strict=True)]
        for batch in rows.to_batches()
    )
    return pa.Table.from_batches([pa.RecordBatch.from_arrays(arrays, schema=schema) for arrays in batches], schema)


def _write(folder: Folder, rows: pa.Table) -> PartFile:
    temporary = f".{uuid.uuid4().hex}.tmp"
    try:
        folder.create()
        with folder.open_output(temporary) as sink:
            bare = columns_with_nan(rows)  # readers would skip row groups that hold a NaN
            pq.write_table(
                rows,
                sink,
                row_group_size=_GROUP_ROWS,
                write_statistics=[name for name in rows.schema.names if name not in bare],
                write_page_checksum=True,
            )
        final = f"part-{folder.sha256(temporary)[:32]}-00000.parquet"
        return publish_by_content(folder, describe_part(folder, temporary), final)
    except OSError as error:
        raise TableError(f"cannot write {folder.uri!r}: {error}. Nothing was committed") from error
    finally:
        with contextlib.suppress(OSError):
            folder.delete(temporary)


def _made_from(table: Table) -> str | None:
    """The `made_from` of the table's version; `None` if another writer committed it."""
    made_from = next(commit_infos(table.folder, table.version), {}).get(METADATA_PREFIX + _MADE_FROM)
    return None if made_from is None else str(made_from)

"""Writes tables whose rows come as a whole from other tables, by joins, counts or comparisons: all of a table, or one
of its partitions.
"""

import contextlib
import hashlib
import json
import uuid
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sparktorch_assets.errors import CommitConflictError, TableError
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.files.partition_values import Partition, parse_partition, partition_folder
from sparktorch_assets.lake.log.commit import commit_parts
from sparktorch_assets.lake.log.snapshot import same_columns
from sparktorch_assets.lake.parquet.nan_columns import columns_with_nan
from sparktorch_assets.lake.parquet.types import cast_column, storage_schema
from sparktorch_assets.lake.partitioning import check_partitioning
from sparktorch_assets.lake.parts.file import PartFile, describe_part, publish_by_content
from sparktorch_assets.lake.table import Table

_MADE_FROM, _PARTITIONS_MADE_FROM = "made_from", "partitions_made_from"
_GROUP_ROWS = 131_072
_ATTEMPTS = 20
"""Maximum number of attempts to commit a partition while others commit other partitions."""
_MOST_PARTITIONS = 2000
"""Each commit records what this many partitions were made from, in about 50 bytes each. A partition that was written
before all of these counts as changed."""


def write_if_changed(table: str, rows: pa.Table, made_from: str, partition: Mapping[str, str] | None = None) -> bool:
    """Replace the rows of the table, or of one partition, by `rows` in a new version, unless this function wrote what is
    there now with the same `made_from`.

    A file that is missing or truncated is written again.

    Args:
        table: path or URI of the Delta table; created if it does not exist.
        rows: all rows of the table, or of the partition.
        made_from: identifies everything that the rows depend on, such as a hash of the sources' data versions and the
            code.
        partition: `{"ds": "2013-01-01"}` writes the rows as that partition of a table partitioned by `ds`; the others
            stay as they are. `rows` may have the column, with this value in every row.

    Returns:
        Whether there is a new version.

    Raises:
        CommitConflictError: another writer changed the same rows meanwhile, to other content. Nothing was committed.
        InputSchemaError: a column's type has no counterpart in Delta, or cannot be used for partitions.
        TaskError: the partition's value cannot be one; see `score_table`.
        TableError: the table cannot be written, has other partitions, or rows belong to another partition.
    """
    stored = _stored(rows)
    scope, schema, stored = _within(table, stored, partition or {})
    now = Table(table)
    before = _parts(now, scope)
    for _ in range(_ATTEMPTS):
        check_partitioning(now, scope)
        unchanged = _is_made_from(now, scope, made_from)
        if unchanged and not _lost(now, before):
            return False
        part = _write(now.folder, stored, scope)
        known = before.get(part.path)
        add = [] if known == part.size_bytes else [part]
        remove = [path for path in before if path != part.path]
        if unchanged and not add and not remove and same_columns(now.snapshot.schema, schema):
            return False
        try:
            commit_parts(
                table,
                schema,
                add=add,
                remove=remove,
                metadata=_record(now, scope, made_from, part.path),
                read_version=now.version,
                partitions=[scope],
            )
        except CommitConflictError:
            now = Table(table)
            if _is_made_from(now, scope, made_from):
                return False  # another run wrote the same content
            if not scope or _parts(now, scope) != before:
                raise
        else:
            return True
    raise CommitConflictError(
        f"{table!r} was changed by others {_ATTEMPTS} times in a row while this run tried to commit; run it again"
    )


def _stored(rows: pa.Table) -> pa.Table:
    schema = storage_schema(rows.schema)
    batches = (
        [cast_column(array, field.type) for array, field in zip(batch.columns, schema, strict=True)]
        for batch in rows.to_batches()
    )
    return pa.Table.from_batches([pa.RecordBatch.from_arrays(arrays, schema=schema) for arrays in batches], schema)


def _within(table: str, rows: pa.Table, given: Mapping[str, str]) -> tuple[Partition, pa.Schema, pa.Table]:
    """The partition, the table's columns, and the rows without the columns whose values are in the path."""
    schema = rows.schema
    for name in given:
        if name not in schema.names:
            schema = schema.append(pa.field(name, pa.string()))
    scope, where = parse_partition(given, schema)
    for condition in where:
        if condition.column in rows.schema.names:
            value = pa.scalar(condition.value, schema.field(condition.column).type)
            if not pc.all(pc.equal(rows[condition.column], value).fill_null(fill_value=False), min_count=0).as_py():
                raise TableError(
                    f"write_if_changed({table!r}): some of the rows for the partition {partition_folder(scope)} have "
                    f"another value in column {condition.column!r}; leave them out"
                )
            rows = rows.drop_columns([condition.column])
    return scope, schema, rows


def _parts(table: Table, scope: Partition) -> dict[str, int]:
    """Path -> size of the parts that would be replaced."""
    listed = table.snapshot.parts_of(scope)
    return {path: part.size_bytes for path, part in listed.items()}


def _lost(table: Table, parts: Mapping[str, int]) -> bool:
    """Whether a part's file is missing, or has another size than the log records."""
    found = {path: table.folder.info(path) for path in parts}
    return any(entry is None or entry.size_bytes != parts[path] for path, entry in found.items())


def _write(folder: Folder, rows: pa.Table, scope: Partition) -> PartFile:
    within = partition_folder(scope)
    prefix = f"{within}/" if within else ""
    temporary = f"{prefix}.{uuid.uuid4().hex}.tmp"
    try:
        folder.create(within)
        with folder.open_output(temporary) as sink:
            bare = columns_with_nan(rows)  # readers would skip row groups that hold a NaN
            pq.write_table(
                rows,
                sink,
                row_group_size=_GROUP_ROWS,
                write_statistics=[name for name in rows.schema.names if name not in bare],
                write_page_checksum=True,
            )
        final = f"{prefix}part-{folder.sha256(temporary)[:32]}-00000.parquet"
        return publish_by_content(folder, describe_part(folder, temporary, scope), final)
    except OSError as error:
        raise TableError(f"cannot write {folder.uri!r}: {error}. Nothing was committed") from error
    finally:
        with contextlib.suppress(OSError):
            folder.delete(temporary)


def _is_made_from(table: Table, scope: Partition, made_from: str) -> bool:
    """Whether this function wrote what the table, or the partition, holds now, with the same `made_from`."""
    if scope:
        recorded = json.loads(table.metadata.get(_PARTITIONS_MADE_FROM, "{}")).get(partition_folder(scope))
        return [recorded] == [_token(made_from, path) for path in _parts(table, scope)]
    return next(table.commits(), {}).get(_MADE_FROM) == made_from


def _record(table: Table, scope: Partition, made_from: str, part: str) -> dict[str, str]:
    """The commit's metadata, which lets `_is_made_from` recognize what it wrote."""
    if not scope:
        return {_MADE_FROM: made_from}
    recorded = json.loads(table.metadata.get(_PARTITIONS_MADE_FROM, "{}"))
    recorded.pop(partition_folder(scope), None)
    latest = dict(list(recorded.items())[1 - _MOST_PARTITIONS :]) | {partition_folder(scope): _token(made_from, part)}
    return {"partition": partition_folder(scope), _PARTITIONS_MADE_FROM: json.dumps(latest)}


def _token(made_from: str, part: str) -> str:
    return hashlib.sha256(json.dumps([made_from, part]).encode()).hexdigest()[:16]

"""Adds and removes parts in one Delta transaction: either all of them, or none.

delta-rs merges concurrent appends on its own (measured with 1.6.6: an overwrite with a stale handle keeps what another
writer appended meanwhile, and two writers that add the same path both succeed). A refresh is exact only for the version
for which it was planned, so retries are switched off: a commit is a compare-and-swap on the version number.
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import pyarrow as pa
from deltalake import DeltaTable, Schema
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, CommitProperties, RemoveAction, create_table_with_add_actions

from sparktorch_assets.errors import CommitConflictError, TableError
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.files.folder_files import LOG_FOLDER
from sparktorch_assets.lake.files.partition_values import Partition
from sparktorch_assets.lake.files.write_failure import write_failure
from sparktorch_assets.lake.log.checkpoint import NO_HOOKS, keep_log_short
from sparktorch_assets.lake.log.on_disk import sync_commit, sync_names
from sparktorch_assets.lake.log.own_metadata import METADATA_PREFIX, keep_metadata
from sparktorch_assets.lake.log.snapshot import (
    Snapshot,
    check_root,
    check_writable,
    open_delta,
    same_columns,
    snapshot_of,
)
from sparktorch_assets.lake.parts.file import PartFile, verify_part
from sparktorch_assets.storage.hidden import hide_secrets
from sparktorch_assets.storage.opening import delta_options

__all__ = ["PartFile", "commit_parts"]

_LOG = logging.getLogger(__name__)
_KEPT_IN_PATHS = "/=~!$&'()+,;:@"
"""Characters that delta-rs does not encode in the paths of actions (measured with 1.6.6), in addition to letters,
digits and `_.-`."""
_FEW = 50
"""From this number of parts on, listing the folder once costs less than looking up each part."""


def commit_parts(
    table: str,
    schema: pa.Schema,
    *,
    add: Sequence[PartFile],
    remove: Sequence[str],
    metadata: Mapping[str, str],
    read_version: int | None,
    description: str = "",
    partitions: Sequence[Partition] = ((),),
) -> int:
    """Add and remove parts in one transaction; the first one creates the table.

    Args:
        table: path or URI of the table's folder.
        schema: the table's columns. A schema that differs from the table's replaces it, and then every old part must be
            removed.
        add: parts whose files are already in the folder.
        remove: paths, relative to the folder, of parts that readers will no longer see; their files stay until
            vacuumed.
        metadata: strings to keep with the commit; `own_metadata.our_metadata` returns them.
        read_version: the version for which `add` and `remove` were planned; `None` if there was no table.
        description: the table's description, used if the table is created.
        partitions: the partitions that the commit covers, all by the same columns, by which the table is, or will be,
            partitioned. By default, the whole of a table without partitions.

    Returns:
        The new version.

    Raises:
        CommitConflictError: the table is no longer at `read_version`. Nothing was committed.
        TableError: the log cannot be written, or the commit is invalid (parts whose files are missing, a new schema
            for only some of the table's parts).
    """
    folder = Folder(table)
    add = _in_place(folder, add)
    sync_names(folder, [part.path for part in add])
    properties = CommitProperties(
        custom_metadata={METADATA_PREFIX + key: value for key, value in metadata.items()}, max_commit_retries=0
    )
    partition_by = [name for name, _ in partitions[0]]
    adds = [
        AddAction(
            part.path,
            part.size_bytes,
            dict(part.partition),
            part.modified_ms,
            True,
            part.stats,
        )
        for part in add
    ]
    if read_version is None:
        _create(folder, schema, adds, properties, description, partition_by)
        return _finished(folder, add, 0, metadata, {})
    delta = open_delta(folder)
    if delta is None or delta.version() != read_version:
        raise _conflict(table, read_version, delta)
    current = snapshot_of(delta, folder)
    check_writable(table, current.write_obstacles)
    changes_schema = not same_columns(current.schema, schema)
    try:
        if changes_schema:
            _check_new_columns(table, delta, current, schema, remove, partitions)
            delta.create_write_transaction(
                list(adds),
                "overwrite",
                schema,
                partition_by,
                partition_filters=_filters(partitions),
                commit_properties=properties,
                post_commithook_properties=NO_HOOKS,
            )
        else:
            removes = _removes(table, current, remove)
            delta.create_write_transaction(
                [*adds, *removes],
                "append",
                schema,
                partition_by,
                commit_properties=properties,
                post_commithook_properties=NO_HOOKS,
            )
    except CommitFailedError as error:
        hide_secrets(error)
        raise _conflict(table, read_version, open_delta(folder)) from error
    except (DeltaError, OSError) as error:
        hide_secrets(error)
        found = None if folder.is_local else open_delta(folder)
        if found is not None and found.version() > read_version:
            # Ours, if the connection was lost after the store had carried it out, or another writer's: the caller looks.
            raise _conflict(table, read_version, found) from error
        raise write_failure(folder, LOG_FOLDER, error) from error
    return _finished(folder, add, read_version + 1, metadata, delta.metadata().configuration)


def _filters(partitions: Sequence[Partition]) -> list[tuple[str, str, Any]] | None:
    """The partitions, as an overwrite names what it replaces; `None` for the whole table."""
    if len(partitions) == 1:
        return [(name, "=", value) for name, value in partitions[0]] or None
    columns = {name for partition in partitions for name, _ in partition}
    assert len(columns) == 1, columns  # several partitions are by one column
    return [(columns.pop(), "in", [value for ((_, value),) in partitions])]


def _removes(table: str, current: Snapshot, remove: Sequence[str]) -> list[RemoveAction]:
    now_ms = int(time.time() * 1000)
    actions = []
    for path in remove:
        part = current.parts.get(path)
        if part is None:
            raise TableError(f"cannot remove {path!r}: {table!r} at version {current.version} has no such part")
        if quote(path, safe=_KEPT_IN_PATHS) != part.logged_path:
            raise TableError(
                f"cannot remove {path!r} from {table!r}: another writer encoded it as {part.logged_path!r} in the log, "
                f"which delta-rs would not repeat. Delete these rows with that writer, then run again"
            )
        actions.append(RemoveAction(path, True, now_ms, part.size_bytes, dict(part.partition)))
    return actions


def _finished(
    folder: Folder,
    add: Sequence[PartFile],
    version: int,
    metadata: Mapping[str, str],
    table_properties: Mapping[str, str],
) -> int:
    sync_commit(folder, version)
    keep_metadata(folder, metadata)
    # A file may have been deleted between the first check and the commit.
    lying = _in_place(folder, add, f"Version {version} lists it; run again to write it again")
    if lying != list(add):
        _LOG.warning(
            "another run has replaced parts of version %d of %s by its own files of the same rows; the next refresh corrects "
            "their sizes in the log",
            version, folder.uri,
        )  # fmt: skip
    keep_log_short(folder, version, table_properties, [part.stats for part in add])
    return version


def _in_place(
    folder: Folder, add: Sequence[PartFile], way_out: str = "Nothing was committed; run again"
) -> list[PartFile]:
    """The parts as they lie in the folder. In a store, another run may have replaced one by its own file of the same rows.

    Raises:
        TableError: a part's file is missing or has another size: committing it would break every reader.
    """
    if len(add) < _FEW:
        sizes = {part.path: entry.size_bytes for part in add if (entry := folder.info(part.path)) is not None}
    else:
        sizes = {entry.path: entry.size_bytes for entry in folder.files()}
    lying = []
    for part in add:
        if sizes.get(part.path) != part.size_bytes:
            entry = None if folder.is_local else folder.info(part.path)
            whole = None if entry is None else verify_part(folder, entry)
            if whole is not None:
                lying.append(whole[0])
                continue
            found = f"has {sizes[part.path]:,} bytes" if part.path in sizes else "is missing"
            raise TableError(
                f"{folder.full(part.path)} is part of this commit: it should have {part.size_bytes:,} bytes and {found}; "
                f"did a vacuum with too short a retention run meanwhile, or did a host write it that does not share this "
                f"folder? {way_out}"
            )
        lying.append(part)
    return lying


def _create(
    folder: Folder,
    schema: pa.Schema,
    adds: list[AddAction],
    properties: CommitProperties,
    description: str,
    partition_by: list[str],
) -> None:
    table = folder.uri
    check_root(folder)
    folder.create()
    try:
        create_table_with_add_actions(
            table,
            Schema.from_arrow(schema),
            adds,
            mode="error",
            partition_by=partition_by,
            description=description or None,
            commit_properties=properties,
            storage_options=delta_options(table),
            post_commithook_properties=NO_HOOKS,
        )
    except (DeltaError, OSError) as error:
        hide_secrets(error)
        found = open_delta(folder)
        if found is not None:
            raise _conflict(table, None, found) from error
        raise write_failure(folder, LOG_FOLDER, error) from error


def _check_new_columns(
    table: str,
    delta: DeltaTable,
    current: Snapshot,
    schema: pa.Schema,
    remove: Sequence[str],
    partitions: Sequence[Partition],
) -> None:
    """Raise `TableError` unless the commit replaces every part of the table, or of its partitions, as new columns
    require. Other partitions can only gain columns, which are null there until they are refreshed as well."""
    old, new = (json.loads(columns.to_json())["fields"] for columns in (delta.schema(), Schema.from_arrow(schema)))
    if partitions[0] and not all(_bare(column) in map(_bare, new) for column in old):
        raise TableError(
            f"the columns of {table!r} change from {', '.join(column['name'] for column in old)} to "
            f"{', '.join(schema.names)}, but its other partitions have the old ones: a refresh of one partition can "
            f"only add columns. Give the predictions a new table"
        )
    listed = current.by_partition()
    kept = {path for partition in partitions for path in listed.get(partition, {})} - set(remove)
    if kept:
        raise TableError(
            f"the columns of {table!r} change, but {len(kept):,} of its parts would keep the old ones (first: "
            f"{min(kept)!r}); refresh the whole table"
        )


def _bare(column: dict[str, Any]) -> tuple[str, str]:
    return column["name"], json.dumps(column["type"])


def _conflict(table: str, read_version: int | None, found: DeltaTable | None) -> CommitConflictError:
    planned = "there was no table" if read_version is None else f"it was at version {read_version}"
    now = "there is no table now" if found is None else f"it is at version {found.version()} now"
    return CommitConflictError(
        f"another writer changed {table!r} while this run worked: when it was planned, {planned}; {now}. Nothing of "
        f"this run was committed; run it again, and what it computed will be found and used"
    )

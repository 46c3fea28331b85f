"""Snapshots: the parts that readers of a Delta table see at one version."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError, TableNotFoundError

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.files.partition_values import Partition
from sparktorch_assets.lake.log.logged_files import logged_files
from sparktorch_assets.lake.log.protocol import check_readable
from sparktorch_assets.lake.log.writable import write_obstacles
from sparktorch_assets.storage.hidden import hide_secrets
from sparktorch_assets.storage.opening import delta_options

_ATTEMPTS = 3
"""How often a log in a store is read. delta-rs (1.6.6) repeats requests that fail, but not those whose answer breaks off."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """One version of a table."""

    version: int | None
    """The version number; `None` if there is no table yet."""
    parts: dict[str, DataFile]
    """Path -> part."""
    schema: pa.Schema | None
    partition_by: tuple[str, ...] = ()
    """The table's partition columns."""
    write_obstacles: tuple[str, ...] = ()
    """The reasons why no refresh may write this table; see `lake/log/writable.py`."""

    @property
    def rows(self) -> int:
        """Number of rows in the parts."""
        return sum(part.rows or 0 for part in self.parts.values())

    def by_partition(self) -> dict[Partition, dict[str, DataFile]]:
        """Partition -> path -> part; the parts of a table without partitions are those of `()`."""
        found: dict[Partition, dict[str, DataFile]] = {}
        for path, part in self.parts.items():
            found.setdefault(part.partition, {})[path] = part
        return found

    def parts_of(self, partition: Partition) -> dict[str, DataFile]:
        """Path -> part, for the parts of a partition; for `()`, for all parts of the table."""
        return self.by_partition().get(partition, {}) if partition else dict(self.parts)


def open_delta(folder: Folder, version: int | None = None) -> DeltaTable | None:
    """Open the Delta table in that folder; `None` if there is none.

    Raises:
        TableError: the table cannot be read, or uses features that are not supported here.
    """
    table = folder.uri
    if _misread(folder):
        if folder.is_folder("_delta_log"):
            check_root(folder)
        return None
    for left in reversed(range(_ATTEMPTS)):
        try:
            delta = DeltaTable(table, version=version, storage_options=delta_options(table))
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            shown = hide_secrets(error)
            if folder.is_local and folder.info() is not None:  # delta-rs looks for a folder of that name
                return None
            if folder.is_local or not left:
                raise TableError(f"cannot read the Delta table {table!r}: {shown}") from error
        else:
            check_readable(table, delta)
            return delta
    raise AssertionError


def check_root(folder: Folder) -> None:
    """Raise `TableError` if delta-rs would look for the table in another folder: it URL-decodes local paths, however
    they are given."""
    if _misread(folder):
        raise TableError(
            f"{folder.uri!r}: delta-rs, which reads and writes the tables' logs, takes {unquote(folder.root)!r} for this path. "
            f"Choose a path without a backslash and without a percent sign before two hexadecimal digits"
        )


def _misread(folder: Folder) -> bool:
    path = folder.root
    return folder.is_local and (unquote(path, errors="surrogateescape") != path or "\\" in path)


def snapshot_of(delta: DeltaTable, folder: Folder) -> Snapshot:
    """The table's parts at the version that `delta` has loaded."""
    files = logged_files(folder, delta)
    return Snapshot(
        version=delta.version(),
        parts={file.path: file for file in files},
        schema=pa.schema(delta.schema().to_arrow()),
        partition_by=tuple(delta.metadata().partition_columns),
        write_obstacles=write_obstacles(folder, delta, files),
    )


def same_columns(one: pa.Schema | None, other: pa.Schema) -> bool:
    """Whether two schemas have the same column names and Delta types, in the same order.

    Comments and other metadata of a column do not count. `None` (no table) is not the same as any schema.
    """
    return one is not None and _columns(one) == _columns(other)


def _columns(schema: pa.Schema) -> Any:
    return _without_metadata(json.loads(Schema.from_arrow(schema).to_json())["fields"])


def _without_metadata(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_metadata(item) for item in node]
    if isinstance(node, dict):
        return {key: _without_metadata(item) for key, item in node.items() if key not in ("metadata", "nullable")}
    return node


def check_writable(table: str, obstacles: Sequence[str]) -> None:
    """Raise `TableError` if a table has rules that a refresh could break; see `lake/log/writable.py`."""
    if obstacles:
        raise TableError(
            f"{table!r} has {'; '.join(obstacles)}. A refresh adds and removes whole files, which would break such a "
            f"rule without anyone noticing. Drop the rule, or give these rows a table of their own"
        )


def data_version_of(paths: Iterable[str], schema: pa.Schema | None) -> str:
    """A hash of a snapshot's part names and schema. Parts are named after their content, so it covers the rows."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.encode() + b"\0")
    for column in schema or ():
        digest.update(f"{column.name}:{column.type}\0".encode())
    return digest.hexdigest()[:32]

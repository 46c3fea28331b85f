"""What a Delta table holds at one version: the parts that its readers see."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError, TableNotFoundError

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.folder import Folder
from sparktorch_assets.lake.partition import Partition
from sparktorch_assets.lake.writable import write_obstacles

_UNREADABLE = {"deletionVectors", "columnMapping"}
"""Reader features under which a file's rows or names are not what the file says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotPart:
    """One file of a snapshot."""

    path: str
    size_bytes: int
    rows: int
    partition: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """One version of a table."""

    version: int | None
    """`None`: there is no table yet."""
    parts: dict[str, SnapshotPart]
    """Path -> part."""
    schema: pa.Schema | None
    partition_by: tuple[str, ...] = ()
    """The table's partition columns."""
    write_obstacles: tuple[str, ...] = ()
    """Why no refresh may write this table; see `lake/writable.py`."""

    @property
    def rows(self) -> int:
        """Rows that readers see."""
        return sum(part.rows for part in self.parts.values())

    def within(self, partition: Partition) -> dict[str, SnapshotPart]:
        """Path -> part, of one partition; all of them for `()`."""
        wanted = set(partition)
        return {path: part for path, part in self.parts.items() if wanted <= set(part.partition)}


def open_delta(table: str, version: int | None = None) -> DeltaTable | None:
    """The Delta table at that path or URI; `None` where there is none.

    Raises:
        TableError: the table uses features under which its files alone do not tell its rows.
    """
    try:
        delta = DeltaTable(table, version=version)
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as error:
        if Folder(table).info() is not None:  # a single file: delta-rs looks for a folder of that name
            return None
        raise TableError(f"cannot read the Delta table {table!r}: {error}") from error
    features = _UNREADABLE.intersection(delta.protocol().reader_features or ())
    if features and "deletionVectors" in features and not _has_deletion_vectors(delta):
        features -= {"deletionVectors"}
    if features:
        raise TableError(
            f"the Delta table {table!r} uses {', '.join(sorted(features))}: its files alone do not tell its rows. "
            f"Rewrite it without (for deletion vectors: REORG TABLE ... APPLY (PURGE))"
        )
    return delta


def _has_deletion_vectors(delta: DeltaTable) -> bool:
    actions = pa.table(delta.get_add_actions())
    vectors = [name for name in actions.column_names if "deletion" in name.lower()]
    return any(actions[name].null_count < len(actions) for name in vectors)


def read_snapshot(table: str, version: int | None = None) -> Snapshot:
    """The table's parts at `version`, or at the latest one; an empty snapshot where there is no table."""
    delta = open_delta(table, version)
    if delta is None:
        return Snapshot(version=None, parts={}, schema=None)
    return Snapshot(
        version=delta.version(),
        parts=_parts(delta),
        schema=pa.schema(delta.schema().to_arrow()),
        partition_by=tuple(delta.metadata().partition_columns),
        write_obstacles=write_obstacles(delta),
    )


def _parts(delta: DeltaTable) -> dict[str, SnapshotPart]:
    actions = pa.table(delta.get_add_actions())
    rows: Any = (
        pc.fill_null(actions["num_records"], 0).to_pylist()
        if "num_records" in actions.column_names
        else [0] * len(actions)
    )
    partitions = actions["partition"].to_pylist() if "partition" in actions.column_names else [None] * len(actions)
    return {
        path: SnapshotPart(
            path=path,
            size_bytes=size,
            rows=count,
            partition=partition_texts(partition),
        )
        for path, size, count, partition in zip(
            actions["path"].to_pylist(), actions["size_bytes"].to_pylist(), rows, partitions, strict=True
        )
    }


def partition_texts(values: Mapping[str, Any] | None) -> Partition:
    """Partition values as text; nulls are left out."""
    return tuple(sorted((name, str(value)) for name, value in (values or {}).items() if value is not None))


def same_columns(one: pa.Schema | None, other: pa.Schema) -> bool:
    """Whether two schemas have the same column names and Delta types, in the same order.

    Comments and other metadata that somebody set on a column do not count. No schema (no table) is like no other.
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
    """Raise TableError where a table has rules that a refresh could break; see `lake/writable.py`."""
    if obstacles:
        raise TableError(
            f"{table!r} has {'; '.join(obstacles)}. A refresh adds and removes whole files, which would break such a rule "
            f"without anyone noticing. Drop the rule, or give these rows a table of their own"
        )


def data_version_of(paths: Iterable[str], schema: pa.Schema | None) -> str:
    """A hash of a snapshot's part names and schema. Parts are named by what they hold, so it names the rows too."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.encode() + b"\0")
    for column in schema or ():
        digest.update(f"{column.name}:{column.type}\0".encode())
    return digest.hexdigest()[:32]

"""Which files hold a table's rows: from its Delta log where there is one, else a folder of Parquet files, or one file."""

from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.folder import Folder
from sparktorch_assets.lake.partition import path_partition
from sparktorch_assets.lake.snapshot import open_delta, partition_texts


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFile:
    """One Parquet file of a table. Path, size and modification time together are its identity."""

    uri: str
    """Where to open it."""
    path: str
    """Relative to the table's root: a table that is moved keeps its identity."""
    size_bytes: int
    modified_ms: int
    partition: tuple[tuple[str, str], ...] = ()
    """Column -> value, for columns that stand in the path instead of the file; a null is left out."""


def list_data_files(table: str) -> list[DataFile]:
    """The table's files, sorted by path.

    Args:
        table: a local path or a URI.

    Raises:
        TableError: there is no such table, or its files alone do not tell its rows.
    """
    folder = Folder(table)
    delta = open_delta(table)
    if delta is not None:
        actions = pa.table(delta.get_add_actions())
        partitions = actions["partition"].to_pylist() if "partition" in actions.column_names else [None] * len(actions)
        files = [
            DataFile(
                uri=f"{folder.absolute}/{path}",
                path=path,
                size_bytes=size,
                modified_ms=modified,
                partition=partition_texts(partition),
            )
            for path, size, modified, partition in zip(
                actions["path"].to_pylist(),
                actions["size_bytes"].to_pylist(),
                pa.compute.cast(actions["modification_time"], pa.int64()).to_pylist(),
                partitions,
                strict=True,
            )
        ]
        return sorted(files, key=lambda file: file.path)
    single = folder.info()
    if single is not None:
        name = PurePosixPath(folder.root).name
        return [DataFile(uri=folder.absolute, path=name, size_bytes=single.size_bytes, modified_ms=single.modified_ms)]
    if not folder.is_folder():
        raise TableError(f"there is no table at {table!r}: neither a Delta table, nor a folder, nor a file")
    files = [
        DataFile(
            uri=f"{folder.absolute}/{entry.path}",
            path=entry.path,
            size_bytes=entry.size_bytes,
            modified_ms=entry.modified_ms,
            partition=path_partition(entry.path),
        )
        for entry in folder.files()
        if entry.path.endswith((".parquet", ".parq")) and not _hidden(entry.path)
    ]
    if not files:
        raise TableError(f"the folder {table!r} holds no Parquet files (*.parquet) and no Delta log")
    return sorted(files, key=lambda file: file.path)


def _hidden(path: str) -> bool:
    return any(part.startswith(("_", ".")) for part in path.split("/"))

"""The files that a Delta log lists, with their locations, deleted rows and partition values."""

from urllib.parse import unquote, urlparse

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.files.column_mapping import ColumnMapping
from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.files.partition_values import Partition
from sparktorch_assets.lake.log.protocol import MAPPING_MODE
from sparktorch_assets.storage.hidden import hide_secrets


def logged_files(folder: Folder, delta: DeltaTable) -> list[DataFile]:
    """The files of the version that `delta` has loaded, sorted by path.

    Raises:
        TableError: the log cannot be read correctly: a deletion vector is broken, a path leads out of the table, or a
            partition column is binary.
    """
    table, mapping = folder.uri, _column_mapping(delta)
    try:
        actions = pa.table(delta.get_add_actions())
        deleted = _deleted(delta) if "deletionVectors" in (delta.protocol().reader_features or ()) else {}
    except (DeltaError, pa.ArrowException, OSError) as error:
        raise TableError(f"cannot read the log of the Delta table {table!r}: {hide_secrets(error)}") from error
    count = len(actions)
    numbers = actions["num_records"].to_pylist() if "num_records" in actions.column_names else [None] * count
    partitions = _partitions(table, actions)
    files = []
    for number, (logged, size, modified) in enumerate(
        zip(
            actions["path"].to_pylist(),
            actions["size_bytes"].to_pylist(),
            pc.cast(actions["modification_time"], pa.int64()).to_pylist(),
            strict=True,
        )
    ):
        path, uri = _located(folder, logged)
        files.append(
            DataFile(
                logged_path=logged,
                path=path,
                uri=uri,
                size_bytes=size,
                modified_ms=modified,
                rows=numbers[number],
                partition=partitions[number],
                deleted=deleted.pop(unquote(uri) if "://" in uri else uri, b""),
                mapping=mapping,
            )
        )
    if deleted:
        raise TableError(
            f"the Delta table {table!r} has deletion vectors for files that it does not list (first: {min(deleted)!r}); "
            f"its log cannot be read correctly"
        )
    return sorted(files, key=lambda file: file.path)


def _column_mapping(delta: DeltaTable) -> ColumnMapping | None:
    """The table's column mapping; `None` if its files use the table's own names."""
    mode = delta.metadata().configuration.get(MAPPING_MODE, "none")
    return None if mode == "none" else ColumnMapping(mode=mode, schema=pa.schema(delta.schema().to_arrow()))


def _deleted(delta: DeltaTable) -> dict[str, bytes]:
    """Decoded URI or local path -> bits, for the files with a deletion vector."""
    vectors = pa.table(delta.deletion_vectors())
    return {
        unquote(uri.removeprefix("file://")): np.packbits(
            ~kept.values.to_numpy(zero_copy_only=False), bitorder="little"
        ).tobytes()
        for uri, kept in zip(vectors["filepath"].to_pylist(), vectors["selection_vector"], strict=True)
    }


def _located(folder: Folder, logged: str) -> tuple[str, str]:
    """The path and URI of a file. A log holds URLs, relative to the table, or absolute for files of another table of
    which this one is a shallow clone."""
    scheme = urlparse(logged).scheme if ":" in logged else ""
    if scheme == "file":
        path = unquote(urlparse(logged).path)
        return path, path
    if len(scheme) > 1:
        return logged, logged
    path = unquote(logged)
    if path.startswith("/") and folder.is_local:
        return path, path
    if path.startswith("/") or (".." in path and ".." in path.split("/")):
        raise TableError(
            f"the log of the Delta table {folder.uri!r} lists the file {logged!r}, which leads out of the table's "
            f"folder. A file that lies elsewhere on purpose has to be listed by its full URI (file:///...)"
        )
    return path, folder.uri_of(path)


def _partitions(table: str, actions: pa.Table) -> list[Partition]:
    if "partition" not in actions.column_names:
        return [()] * len(actions)
    columns: dict[str, list[str | None]] = {}
    found = actions["partition"].combine_chunks()
    for field in sorted(found.type, key=lambda field: field.name):
        if pa.types.is_binary(field.type):
            raise TableError(
                f"the Delta table {table!r} is partitioned by {field.name!r}, which is binary: writers do not agree on "
                f"how to write its values to the log. Partition by a string"
            )
        columns[field.name] = pc.cast(found.field(field.name), pa.string()).to_pylist()
    return [tuple(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

"""Lists the files that hold the rows of a table without a Delta log: a folder's Parquet files, or one file."""

import logging
import os
from collections.abc import Iterable
from pathlib import PurePosixPath

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.files.folder import Folder, FolderEntry
from sparktorch_assets.lake.files.partition_values import path_partition

_LOG = logging.getLogger(__name__)
LOG_FOLDER = "_delta_log"
PARQUET_ENDINGS = (".parquet", ".parq", ".pq")
_MAGIC = b"PAR1"


def folder_files(folder: Folder) -> list[DataFile]:
    """The files of a table without a log.

    Raises:
        TableError: there is no such table, or its rows cannot be determined from its files alone.
    """
    single = folder.info() if folder.is_local else None
    entries = [] if single else list(folder.files())
    if not folder.is_local and not entries:  # asked last, since a store answers it with a listing
        single = folder.info()
    if single is not None:
        name = PurePosixPath(folder.root).name
        return [DataFile(uri=folder.absolute, path=name, size_bytes=single.size_bytes, modified_ms=single.modified_ms)]
    if not entries and not folder.is_folder():
        raise TableError(f"there is no table at {folder.uri!r}: neither a Delta table, nor a folder, nor a file")
    if _has_log(folder, entries):
        raise TableError(
            f"{folder.uri!r} has a Delta log ({LOG_FOLDER}) of which no version can be read, and its rows cannot be "
            f"determined from its files alone. Restore the log; or, if the rows of all files count, delete that folder"
        )
    inside = _delta_table_above(folder)
    if inside is not None:
        raise TableError(
            f"{folder.uri!r} is a partition's folder of the Delta table {inside!r}, and its rows cannot be determined "
            f"from its files alone. Name that table as the input, and select the rows by `where` or by a partition"
        )
    tables = {entry.path.partition(f"/{LOG_FOLDER}/")[0] for entry in entries if f"/{LOG_FOLDER}/" in entry.path}
    nested = sorted(table for table in tables if is_visible(table))
    if nested:
        raise TableError(
            f"the folder {folder.uri!r} holds a Delta table, {nested[0]!r}, whose rows cannot be determined from its "
            f"files alone. Name that table as the input, or move it out of the folder"
        )
    files = [
        DataFile(
            uri=folder.uri_of(entry.path),
            path=entry.path,
            size_bytes=entry.size_bytes,
            modified_ms=entry.modified_ms,
            partition=path_partition(entry.path),
        )
        for entry in entries
        if is_visible(entry.path) and _holds_rows(folder, entry)
    ]
    if not files:
        raise TableError(f"the folder {folder.uri!r} holds no Parquet files (*.parquet) and no Delta log")
    by_columns = {tuple(name for name, _ in file.partition): file for file in files}
    if len(by_columns) > 1:
        one, other = list(by_columns.values())[:2]
        raise TableError(
            f"the files of {folder.uri!r} are in folders with different partition columns ({one.path!r} and "
            f"{other.path!r}), so some of them lack a column's value. Move each kind to a separate folder, or name a "
            f"subfolder as the table"
        )
    return files


def _has_log(folder: Folder, entries: Iterable[FolderEntry]) -> bool:
    """Whether there is a Delta log, of which nothing may be readable."""
    if any(entry.path.startswith(f"{LOG_FOLDER}/") for entry in entries):
        return True
    return folder.is_local and os.path.lexists(folder.full(LOG_FOLDER))


def _delta_table_above(folder: Folder) -> str | None:
    path, name = folder.absolute, folder.root.rpartition("/")[2]
    while "=" in name:
        path = path.rpartition("/")[0]
        above = Folder(path)
        if above.is_folder(LOG_FOLDER):
            return path
        name = above.root.rpartition("/")[2]
    return None


def is_visible(path: str) -> bool:
    """Whether Spark sees the path, even if it is named. A partition folder is never hidden, whatever its column's name
    begins with."""
    return not any(part.startswith(".") or (part.startswith("_") and "=" not in part) for part in path.split("/"))


def _holds_rows(folder: Folder, entry: FolderEntry) -> bool:
    """Whether a visible file belongs to the table, judging by its extension or, for a file without one (as Hive and
    Trino write them), by its content. A file with another extension may be half-written."""
    name = entry.path.rpartition("/")[2].lower()
    if name.endswith(PARQUET_ENDINGS):
        return True
    if entry.size_bytes < len(_MAGIC):
        return False
    with folder.open_input(entry.path) as file:
        is_parquet = file.read(len(_MAGIC)) == _MAGIC
    if is_parquet and "." in name:
        _LOG.warning(
            "%s is a Parquet file, but is not read with the others of its folder: its name does not end in %s",
            folder.full(entry.path),
            " or ".join(PARQUET_ENDINGS),
        )
    return is_parquet and "." not in name


def check_inside(folder: Folder, paths: Iterable[str]) -> None:
    """Raise `TableError` if a symbolic link leads out of the table: otherwise, whoever can create files there could
    make readers expose files that only the readers may read."""
    if not folder.is_local:
        return
    root = os.path.realpath(folder.root)
    inside = {root: True}  # parent -> whether it is within the root
    for path in paths:
        if path.startswith("/"):  # the log lists it with an absolute path on purpose
            continue
        full = folder.full(path)
        parent = full.rpartition("/")[0]
        if parent not in inside:
            inside[parent] = _within(os.path.realpath(parent), root)
        linked = os.path.islink(full)  # noqa: PTH114  (strings, since there may be many)
        if not inside[parent] or (linked and not _within(os.path.realpath(full), root)):
            raise TableError(
                f"{full!r} leads out of the table's folder {folder.uri!r} by a symbolic link. Move or copy the files "
                f"into the folder, or name the folder that holds them as the table"
            )


def _within(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")

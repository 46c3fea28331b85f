"""Deletes files that no reader needs: parts removed from the table, parts that were never committed, and temporary
files and staging folders of killed writers. It works on prediction tables, input tables and derived tables, and writes
no commit, so a vacuum changes no version and does not disturb running refreshes.

Deleting removed parts ends time travel to the versions that held them, and going back to old weights will then compute
their parts again.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.files.folder import Folder, FolderEntry
from sparktorch_assets.lake.log.history import actions_of
from sparktorch_assets.lake.parts.file import NUMBERED_PART_NAME, PART_NAME
from sparktorch_assets.lake.parts.staging import STAGING_NAME, taken_over
from sparktorch_assets.lake.table import Table

RETENTION_HOURS = 7 * 24.0
_TEMPORARY = re.compile(r"(?:.*/)?\.(?:part-.*|[0-9a-f]{32})\.tmp")


@dataclass(frozen=True, kw_only=True, slots=True)
class VacuumReport:
    """What a vacuum deleted, or would delete."""

    files: tuple[str, ...]
    """Paths relative to the table's root."""
    bytes: int


def vacuum(table: str, *, retention_hours: float = RETENTION_HOURS, dry_run: bool = False) -> VacuumReport:
    """Delete parts and temporary files that are not in the current version and are older than the retention.

    A part is old if it was both written and removed from the table longer ago than the retention. The retention must
    exceed the longest refresh by an hour, since the finished parts of a running refresh do not belong to any version
    yet, and those that it resumes may be an hour old already. Staging folders on local disks have owners: those of
    killed runs are deleted whatever their age, and those of running ones stay. Nothing outside the table's folder is
    touched, nor is anything in a folder below it that is a Delta table itself.

    Args:
        table: the table's folder. Only files named like parts, their temporary files and staging folders are touched.
        retention_hours: how long an unneeded file is kept.
        dry_run: only report what would be deleted.

    Raises:
        TableError: the retention is negative, or there is no table.
    """
    if retention_hours < 0:
        raise TableError(f"vacuum({table!r}): retention_hours={retention_hours!r} must not be below 0")
    folder = Folder(table)
    cutoff_ms = time.time() * 1000 - retention_hours * 3_600_000
    entries = own_files(folder)
    removed_lately = _removed_since(folder, entries, cutoff_ms)
    # Read after listing the folder: a part that is committed after this line was young when it was listed, or not
    # listed.
    snapshot = Table(table).snapshot
    if snapshot.version is None:
        raise TableError(f"vacuum: there is no Delta table at {table!r}")
    # A log encodes some characters of a path, such as a space as %20; files that match either spelling stay.
    kept = {spelled for path in snapshot.parts.keys() | removed_lately for spelled in (path, unquote(path))}
    old = [
        entry
        for entry in entries
        if entry.modified_ms <= cutoff_ms and entry.path not in kept and (_is_part(entry) or _is_temporary(entry))
    ]
    if not dry_run:
        # A run that resumes an old part makes it young first, so check again right before each file is deleted.
        committed = {spelled for path in Table(table).snapshot.parts for spelled in (path, unquote(path))}
        old = [entry for entry in old if entry.path not in committed and _delete_if_old(folder, entry, cutoff_ms)]
    old += _clear_staging(folder, entries, cutoff_ms, dry_run=dry_run)
    return VacuumReport(files=tuple(sorted(entry.path for entry in old)), bytes=sum(entry.size_bytes for entry in old))


def own_files(folder: Folder) -> list[FolderEntry]:
    """The files of the table itself: in its folder, and below that in the folders of its partitions, log and staging.

    Other folders do not belong to it: one may be a table whose first commit is still to come. The same goes for folders
    with a Delta log of their own, and for the targets of symbolic links.
    """
    if folder.is_local:
        return list(_walk(folder, ""))
    entries = [entry for entry in folder.files() if _is_own_folder(entry.path.rpartition("/")[0])]
    nested = {
        entry.path.split("/_delta_log/")[0] + "/"
        for entry in entries
        if "/_delta_log/" in entry.path and not entry.path.startswith("_delta_log/")
    }
    return [entry for entry in entries if not any(entry.path.startswith(inner) for inner in nested)]


def _walk(folder: Folder, path: str) -> Iterator[FolderEntry]:
    try:
        found = list(os.scandir(folder.full(path)))
    except FileNotFoundError:  # deleted meanwhile
        return
    if path and any(item.name == "_delta_log" for item in found):
        return
    for item in found:
        inner = f"{path}/{item.name}" if path else item.name
        if item.is_dir(follow_symlinks=False):
            if _is_own_folder(inner):
                yield from _walk(folder, inner)
        elif item.is_file(follow_symlinks=False):
            with contextlib.suppress(FileNotFoundError):
                status = item.stat(follow_symlinks=False)
                yield FolderEntry(path=inner, size_bytes=status.st_size, modified_ms=status.st_mtime_ns // 1_000_000)


def _is_own_folder(path: str) -> bool:
    names = path.split("/")
    return (
        path == ""
        or names[0] == "_delta_log"
        or STAGING_NAME.fullmatch(names[0]) is not None
        or all("=" in name or name == "_delta_log" for name in names)
    )


def _delete_if_old(folder: Folder, entry: FolderEntry, cutoff_ms: float) -> bool:
    now = folder.info(entry.path)
    if now is None or now.modified_ms > cutoff_ms:
        return False
    folder.delete(entry.path)
    return True


def _is_part(entry: FolderEntry) -> bool:
    return any(name.fullmatch(entry.path) for name in (PART_NAME, NUMBERED_PART_NAME)) and not _staging_of(entry)


def _is_temporary(entry: FolderEntry) -> bool:
    return _TEMPORARY.fullmatch(entry.path) is not None and not _staging_of(entry)


def _staging_of(entry: FolderEntry) -> str | None:
    """The staging folder that contains the file; `None` if there is none."""
    first, _, inner = entry.path.partition("/")
    return first if inner and STAGING_NAME.fullmatch(first) else None


def _clear_staging(folder: Folder, entries: list[FolderEntry], cutoff_ms: float, *, dry_run: bool) -> list[FolderEntry]:
    """Delete the abandoned staging folders, and return the files that were in them."""
    staged: dict[str, list[FolderEntry]] = {}
    for entry in entries:
        path = _staging_of(entry)
        if path is not None:
            staged.setdefault(path, []).append(entry)
    gone = []
    for path, left in staged.items():
        with taken_over(folder, path, cutoff_ms / 1000) as abandoned:
            if abandoned:
                gone += left
                if not dry_run:
                    with contextlib.suppress(OSError):
                        folder.filesystem.delete_dir(folder.full(path))
    return gone


def _removed_since(folder: Folder, entries: list[FolderEntry], cutoff_ms: float) -> set[str]:
    """Parts that a commit after the cutoff removed; readers of the version before it may still need them."""
    return {
        path
        for entry in entries
        if entry.path.startswith("_delta_log/") and entry.path.endswith(".json") and entry.modified_ms > cutoff_ms
        for path in _removed_in(folder, entry.path)
    }


def _removed_in(folder: Folder, commit: str) -> Iterator[str]:
    yield from (unquote(action["remove"]["path"]) for action in actions_of(folder, commit) if action.get("remove"))

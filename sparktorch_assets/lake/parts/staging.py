"""A folder inside a table's own folder for files on their way into it: same file system, so that moving is a rename.

On a local disk its owner holds a lock on it for as long as it lives, so that nobody has to guess from its age whether a
run still works: a run of 30 hours keeps its folder, and a killed run's goes at once. Where locks say nothing (object
stores, file systems without locks, folders of another host on a shared one) the time since the last write has to do.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyarrow import fs

from sparktorch_assets.lake.folder import Folder

STAGING_NAME = re.compile(r"_staging-[0-9a-f]{8}-[0-9a-f]{24}")
"""`_staging-<host>-<anything>`. Readers of Parquet folders leave names with an underscore out."""
_ABANDONED_S = 24 * 3600


@contextmanager
def staging_folder(table: Folder) -> Iterator[str]:
    """A new folder's path relative to the table's; gone at the end, whatever happens.

    Folders that killed runs left behind are deleted.
    """
    table.create()
    _delete_abandoned(table)
    path, lock = _create_owned(table)
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            table.filesystem.delete_dir(table.full(path))
        if lock is not None:
            os.close(lock)


@contextmanager
def taken_over(table: Folder, path: str, before_s: float) -> Iterator[bool]:
    """Whether nobody works in that staging folder any more; while this is so, nobody can take it from the caller.

    Args:
        table: the table's folder.
        path: the staging folder, relative to it.
        before_s: seconds since 1970; where no lock tells, it counts as abandoned if nothing was written in it since.
    """
    lock, owned = _lock(table.full(path)) if table.is_local and _of_this_host(path) else (None, None)
    try:
        yield _last_write_s(table, path) <= before_s if owned is None else not owned
    finally:
        if lock is not None:
            os.close(lock)


def _create_owned(table: Folder) -> tuple[str, int | None]:
    while True:
        path = f"_staging-{_host()}-{uuid.uuid4().hex[:24]}"
        table.create(path)
        if not table.is_local:
            return path, None
        lock, owned = _lock(table.full(path))
        # Another run may have taken the new folder for an abandoned one before the lock was ours.
        if not owned and table.is_folder(path):
            return path, lock
        if lock is not None:
            os.close(lock)


def _lock(folder: str) -> tuple[int | None, bool | None]:
    """An open, locked folder, and whether somebody else holds the lock; `None` where that cannot be told."""
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None, None
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(opened)
        return None, True if error.errno == errno.EWOULDBLOCK else None
    return opened, False


def _delete_abandoned(table: Folder) -> None:
    before_s = time.time() - _ABANDONED_S
    for found in table.filesystem.get_file_info(fs.FileSelector(table.root)):
        linked = table.is_local and Path(found.path).is_symlink()  # never ours, and it may lead anywhere
        if found.type == fs.FileType.Directory and STAGING_NAME.fullmatch(found.base_name) and not linked:
            with taken_over(table, found.base_name, before_s) as abandoned, contextlib.suppress(OSError):
                if abandoned:
                    table.filesystem.delete_dir(found.path)


def _last_write_s(table: Folder, path: str) -> float:
    """When something was last written in the folder; on a store, which has no folders, an empty one was never used."""
    made = table.filesystem.get_file_info(table.full(path)).mtime_ns or 0
    return max([made / 1e9, *(file.modified_ms / 1e3 for file in table.files(path))])


def _of_this_host(path: str) -> bool:
    return path.split("-")[1] == _host()


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]

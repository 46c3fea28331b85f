"""Staging folders inside a table's folder, for files that are about to be added: on the same file system, so that a
move is a rename.

On a local disk, the owner holds a lock on the folder as long as it lives, so nobody has to infer from the folder's age
whether a run is still working: a run of 30 hours keeps its folder, and that of a killed run is deleted at once. Where
locks do not help (object stores, file systems without locks, another host's folders on a shared disk), the time of the
last write decides.
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

from sparktorch_assets.lake.files.folder import Folder

STAGING_NAME = re.compile(r"_staging-[0-9a-f]{8}-[0-9a-f]{24}")
"""`_staging-<host>-<random>`. Readers of Parquet folders ignore names that begin with an underscore."""
_ABANDONED_S = 24 * 3600


@contextmanager
def staging_folder(table: Folder) -> Iterator[str]:
    """Create a staging folder and yield its path, relative to the table's; it is deleted at the end, whatever happens.

    Folders that killed runs left behind are deleted as well.
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
    """Yield whether the staging folder is abandoned; if it has a lock, the caller holds that lock inside the block.

    Args:
        table: the table's folder.
        path: the staging folder, relative to it.
        before_s: seconds since 1970; without a usable lock, the folder is abandoned if nothing was written in it since
            then.
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
        # Another run may have taken the new folder for an abandoned one before we held the lock.
        if not owned and table.is_folder(path):
            return path, lock
        if lock is not None:
            os.close(lock)


def _lock(folder: str) -> tuple[int | None, bool | None]:
    """The descriptor of the open, locked folder, and whether another process holds the lock; `None`: unknown."""
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
    for found in table.filesystem.get_file_info(fs.FileSelector(table.root, allow_not_found=True)):
        linked = table.is_local and Path(found.path).is_symlink()  # never ours, and may point anywhere
        if found.type == fs.FileType.Directory and STAGING_NAME.fullmatch(found.base_name) and not linked:
            with taken_over(table, found.base_name, before_s) as abandoned, contextlib.suppress(OSError):
                if abandoned:
                    table.filesystem.delete_dir(found.path)


def _last_write_s(table: Folder, path: str) -> float:
    """The time of the last write in the folder; 0 for an empty one on a store, which has no real folders."""
    made = table.filesystem.get_file_info(table.full(path)).mtime_ns or 0
    return max([made / 1e9, *(file.modified_ms / 1e3 for file in table.files(path))])


def _of_this_host(path: str) -> bool:
    return path.split("-")[1] == _host()


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]

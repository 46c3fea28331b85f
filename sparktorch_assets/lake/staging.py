"""A folder inside a table's own folder for files on their way into it: same file system, so that moving is a rename."""

import contextlib
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from pyarrow import fs

from sparktorch_assets.lake.folder import Folder

STAGING_PREFIX = "_staging-"
"""Readers of Parquet folders leave names with an underscore out."""
_ABANDONED_S = 24 * 3600


@contextmanager
def staging_folder(table: Folder) -> Iterator[str]:
    """A new folder's path relative to the table's; gone at the end, whatever happens.

    Folders that killed runs left behind are deleted once they are a day old.
    """
    table.create()
    _delete_abandoned(table)
    path = f"{STAGING_PREFIX}{uuid.uuid4().hex}"
    table.create(path)
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            table.filesystem.delete_dir(table.full(path))


def _delete_abandoned(table: Folder) -> None:
    now_s = time.time()
    for found in table.filesystem.get_file_info(fs.FileSelector(table.root)):
        abandoned = (
            found.type == fs.FileType.Directory
            and found.base_name.startswith(STAGING_PREFIX)
            and found.mtime_ns is not None
            and now_s - found.mtime_ns / 1e9 > _ABANDONED_S
        )
        if abandoned:
            with contextlib.suppress(OSError):
                table.filesystem.delete_dir(found.path)

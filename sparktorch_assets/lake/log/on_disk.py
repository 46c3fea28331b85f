"""Durability: a power failure loses nothing that was reported to a caller as committed.

A part's content is on disk before it gets its name (`Folder.publish`), and its name is on disk before a commit lists
it. delta-rs (1.6.6) writes its log without fsync, so the entry is flushed as soon as the commit returns. Until then, a
power failure may leave the entry empty, which readers take for a commit that changed nothing.
"""

from collections.abc import Iterable
from pathlib import PurePosixPath

from sparktorch_assets.lake.files.folder import Folder

_LOG = "_delta_log"


def sync_names(folder: Folder, paths: Iterable[str]) -> None:
    """Flush the names of finished parts to disk, and those of the partitions' folders in which they are: a run that was
    killed may have created a folder without doing so."""
    above = {path.rpartition("/")[0] for path in paths}
    above |= {str(folder) for path in above for folder in PurePosixPath(path).parents}
    for name in above:
        folder.sync("" if name == "." else name)


def sync_commit(folder: Folder, version: int) -> None:
    """Flush a commit to disk, and the checkpoint that delta-rs may have written with it."""
    if not folder.is_local:
        return
    entry = f"{_LOG}/{version:020d}."
    for file in folder.files(_LOG, recursive=False):
        if file.path.startswith(entry) or file.path == f"{_LOG}/_last_checkpoint":
            folder.sync(file.path)
    folder.sync(_LOG)
    folder.sync()

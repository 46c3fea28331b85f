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
    """Flush a commit to disk."""
    folder.sync(f"{_LOG}/{version:020d}.json")
    folder.sync(_LOG)
    folder.sync()


def sync_checkpoint(folder: Folder, version: int) -> None:
    """Flush a checkpoint to disk, with the file that names it as the last one."""
    for name in (f"{version:020d}.checkpoint.parquet", "_last_checkpoint"):
        folder.sync(f"{_LOG}/{name}")
    folder.sync(_LOG)

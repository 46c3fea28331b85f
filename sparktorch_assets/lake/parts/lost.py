"""Finds parts that a table lists but that can no longer be read."""

from sparktorch_assets.lake.folder import Folder
from sparktorch_assets.lake.log.snapshot import Snapshot


def lost_parts(table: str, snapshot: Snapshot) -> set[str]:
    """The paths of the parts whose files are missing, or have another size than the log records; for tables without
    partitions.

    Every writer of a table writes these parts again, whatever else has changed, so any loss is repaired.
    """
    sizes = {entry.path: entry.size_bytes for entry in Folder(table).files(recursive=False)} if snapshot.parts else {}
    return {path for path, part in snapshot.parts.items() if sizes.get(path) != part.size_bytes}

"""Finds parts that a table lists but that can no longer be read."""

from sparktorch_assets.lake.table import Table


def lost_parts(table: Table) -> set[str]:
    """The paths of the parts whose files are missing, or have another size than the log records; for tables without
    partitions.

    Every writer of a table writes these parts again, whatever else has changed, so any loss is repaired.
    """
    parts = table.snapshot.parts
    sizes = {entry.path: entry.size_bytes for entry in table.folder.files(recursive=False)} if parts else {}
    return {path for path, part in parts.items() if sizes.get(path) != part.size_bytes}

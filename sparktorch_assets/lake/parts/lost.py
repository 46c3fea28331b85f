"""Parts that a table lists and that nobody can read any more."""

from sparktorch_assets.lake.folder import Folder
from sparktorch_assets.lake.log.snapshot import Snapshot


def lost_parts(table: str, snapshot: Snapshot) -> set[str]:
    """The paths of the parts of a table without partitions whose files are gone, or have another size than the log says.

    Whoever writes a table makes these again, whatever else has changed: so any loss heals itself.
    """
    sizes = {entry.path: entry.size_bytes for entry in Folder(table).files(recursive=False)} if snapshot.parts else {}
    return {path for path, part in snapshot.parts.items() if sizes.get(path) != part.size_bytes}

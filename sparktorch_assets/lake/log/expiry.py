"""Deletes the entries of a log that no reader needs any more: neither the latest version, nor any version that readers may
still go back to, nor this library's own records of what was published.

An entry may go if it lies before a checkpoint from which all of these can be read. The entries go oldest first, so that
a process that is killed meanwhile leaves a log whose beginning is shorter. Two processes may do this at once.
"""

import itertools
import re
import time
from collections.abc import Iterable, Mapping

from sparktorch_assets.lake.files.folder import Folder, FolderEntry
from sparktorch_assets.lake.log.snapshot import open_delta

KEPT_COMMITS = 50
"""So many of the latest commits are kept, however old they are: an audit compares with what they published."""
_RETENTION_MS = 30 * 86_400_000
_ENTRY = re.compile(r"_delta_log/(\d{20})\.(json|crc|checkpoint\.parquet)")
_DURATION = re.compile(r"(?:interval\s+)?(\d+)\s+(minute|hour|day|week)s?", re.IGNORECASE)
_UNIT_MS = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000, "week": 7 * 86_400_000}


def retention_ms(properties: Mapping[str, str]) -> int | None:
    """How long entries are kept, by the table's properties `delta.logRetentionDuration` (30 days by default) and
    `delta.enableExpiredLogCleanup`. `None` if they are kept for ever, and if the duration cannot be read."""
    if properties.get("delta.enableExpiredLogCleanup", "true").strip().lower() != "true":
        return None
    text = properties.get("delta.logRetentionDuration")
    if text is None:
        return _RETENTION_MS
    found = _DURATION.fullmatch(text.strip())
    return int(found[1]) * _UNIT_MS[found[2].lower()] if found else None


def delete_expired(folder: Folder, age_ms: int) -> None:
    """Delete the entries of the table's log that are older than this and that nobody needs."""
    found = expired(folder.files("_delta_log", recursive=False), time.time() * 1000 - age_ms)
    if found is not None:
        checkpoint, paths = found
        open_delta(folder, checkpoint)  # raises unless it can be read
        for path in paths:
            folder.delete(path)


def expired(entries: Iterable[FolderEntry], cutoff_ms: float) -> tuple[int, list[str]] | None:
    """The version of the checkpoint with which the log will begin, and the paths that may go, oldest first. `None` if there
    are none.

    Args:
        entries: the files of the log.
        cutoff_ms: readers may go back to every version that was the latest one at this time or later.
    """
    found = [(int(match[1]), match[2], entry) for entry in entries if (match := _ENTRY.fullmatch(entry.path))]
    commits = sorted((version, entry.modified_ms) for version, kind, entry in found if kind == "json")
    old = [version for version, _ in itertools.takewhile(lambda commit: commit[1] <= cutoff_ms, commits)]
    if not old:
        return None
    needed = min(old[-1], commits[-1][0] - KEPT_COMMITS + 1)
    anchor = max(
        (version for version, kind, _ in found if kind == "checkpoint.parquet" and version <= needed), default=0
    )
    gone = sorted((version, entry.path) for version, _, entry in found if version < anchor)
    return (anchor, [path for _, path in gone]) if gone else None

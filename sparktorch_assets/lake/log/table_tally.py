"""The tally of a whole table, kept with each commit and updated by what changed, without reading the whole table."""

import json
from collections.abc import Collection, Iterable

from sparktorch_assets.lake.folder import Folder
from sparktorch_assets.lake.log.commit import last_commit_metadata
from sparktorch_assets.lake.log.snapshot import Snapshot, data_version_of
from sparktorch_assets.lake.parts.file import verify_parts
from sparktorch_assets.tally import Tally

TALLY_KEY, DATA_VERSION_KEY = "tally", "data_version"

SUMS = frozenset(
    [
        "rows",
        "filtered",
        "predicted",
        "failed",
        "dropped",
        "truncated",
        "classes",
        "confidence_sum",
        "confidence_histogram",
        "reasons",
        "seconds",
        "devices",
        "batch_sizes",
        "splits",
    ]
)
"""The tally's fields that are sums, so that a part's share can be subtracted."""
EXTREMES = frozenset({"agreement", "confidence_difference"})
"""The tally's fields that are extremes, which stay when the part in which they occurred is removed."""


def table_tally(table: str, snapshot: Snapshot) -> Tally:
    """The tally of all parts of a snapshot, from its commit or, if that has none, from the parts' receipts."""
    stored = _stored(table, snapshot)
    return _from_receipts(table, snapshot.parts)[0] if stored is None else stored


def tally_after(table: str, snapshot: Snapshot, removed: Collection[str], added: Iterable[Tally]) -> Tally:
    """The tally of the table without the parts `removed` of `snapshot`, and with parts whose tallies are `added`.

    Reads as few receipts as possible: those of the removed parts, or those of the kept parts if these are fewer.
    """
    kept = snapshot.parts.keys() - set(removed)
    stored = _stored(table, snapshot) if len(removed) < len(kept) else None
    total = Tally()
    if stored is not None:
        gone, all_found = _from_receipts(table, removed)
        if all_found:
            total = _minus(stored, gone)
        else:  # the file of a removed part is missing
            stored = None
    if stored is None:
        total, _ = _from_receipts(table, kept)
    for tally in added:
        total.add(tally)
    return total


def parts_tally(table: str, paths: Collection[str]) -> Tally:
    """The tally of only these parts, from their receipts."""
    return _from_receipts(table, paths)[0]


def _stored(table: str, snapshot: Snapshot) -> Tally | None:
    metadata = last_commit_metadata(table)
    if TALLY_KEY not in metadata or metadata.get(DATA_VERSION_KEY) != data_version_of(snapshot.parts, snapshot.schema):
        return None  # another writer has changed the table since
    return Tally.from_plain(json.loads(metadata[TALLY_KEY]))


def _from_receipts(table: str, paths: Collection[str]) -> tuple[Tally, bool]:
    folder = Folder(table)
    if not paths:
        return Tally(), True
    entries = [entry for entry in folder.files() if entry.path in paths]
    verified = verify_parts(folder, entries)
    return Tally.total(receipt.tally for _, receipt in verified.values()), len(verified) == len(paths)


def _minus(whole: Tally, part: Tally) -> Tally:
    rest = Tally.from_plain(whole.to_plain())
    for name in SUMS:
        mine, theirs = getattr(rest, name), getattr(part, name)
        if isinstance(mine, dict):
            left = {key: number - theirs.get(key, 0) for key, number in mine.items()}
            mine = left if name == "seconds" else {key: number for key, number in left.items() if number}
        elif isinstance(mine, list):
            mine = [a - b for a, b in zip(mine, theirs, strict=True)]
        else:
            mine -= theirs
        setattr(rest, name, mine)
    return rest

"""The tally of a whole table, kept with each commit and updated by what changed, without reading the whole table."""

import json
from collections.abc import Collection, Iterable

from sparktorch_assets.lake.files.partition_entries import partition_entries
from sparktorch_assets.lake.files.partition_values import path_partition
from sparktorch_assets.lake.parts.file import verify_parts
from sparktorch_assets.lake.table import Table
from sparktorch_assets.number_summary import NumberSummary
from sparktorch_assets.tally import Tally

TALLY_KEY, DATA_VERSION_KEY = "tally", "data_version"

SUMS = frozenset(
    [
        "rows",
        "filtered",
        "outside",
        "predicted",
        "failed",
        "dropped",
        "truncated",
        "classes",
        "confidence_sum",
        "confidence_histogram",
        "confusion",
        "calibration_rows",
        "calibration_right",
        "calibration_confidence",
        "marks",
        "numbers",
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


def table_tally(table: Table) -> Tally:
    """The tally of all parts of the table, from its last commit or, if that has none, from the parts' receipts."""
    stored = _stored(table)
    return parts_tally(table, table.snapshot.parts) if stored is None else stored


def tally_after(table: Table, removed: Collection[str], added: Iterable[Tally]) -> Tally:
    """The tally of the table without the parts `removed`, and with parts whose tallies are `added`.

    Reads as few receipts as possible: those of the removed parts, or those of the kept parts if these are fewer, or if
    an extreme of the table's numbers goes with a removed part.
    """
    kept = table.snapshot.parts.keys() - set(removed)
    stored = _stored(table) if len(removed) < len(kept) else None
    gone = {} if stored is None else receipts(table, removed)
    left = Tally.total(gone.values())
    # The file of a removed part may be missing.
    if stored is None or len(gone) < len(removed) or not _can_lose(stored, left):
        total = parts_tally(table, kept)
    else:
        total = _minus(stored, left)
    for tally in added:
        total.add(tally)
    return total


def parts_tally(table: Table, paths: Collection[str]) -> Tally:
    """The tally of only these parts, from their receipts."""
    return Tally.total(receipts(table, paths).values())


def receipts(table: Table, paths: Collection[str]) -> dict[str, Tally]:
    """Path -> tally, for those of the parts whose files are intact."""
    if not paths:
        return {}
    partitions = {path_partition(path) for path in paths}
    entries = [entry for entry in partition_entries(table.folder, partitions) if entry.path in paths]
    return {path: receipt.tally for path, (_, receipt) in verify_parts(table.folder, entries).items()}


def _stored(table: Table) -> Tally | None:
    if table.metadata.get(DATA_VERSION_KEY) != table.data_version or TALLY_KEY not in table.metadata:
        return None  # another writer has changed the table since
    return Tally.from_plain(json.loads(table.metadata[TALLY_KEY]))


def _can_lose(whole: Tally, part: Tally) -> bool:
    """Whether what is left of the statistics of numbers is known after a subtraction."""
    return all(found.can_lose(part.numbers.get(name, NumberSummary())) for name, found in whole.numbers.items())


def _minus(whole: Tally, part: Tally) -> Tally:
    rest = Tally.from_plain(whole.to_plain())
    for name in SUMS:
        mine, theirs = getattr(rest, name), getattr(part, name)
        if name == "numbers":
            found = {key: summary.without(theirs.get(key, NumberSummary())) for key, summary in mine.items()}
            mine = {key: summary for key, summary in found.items() if summary.count}
        elif isinstance(mine, dict):
            left = {key: number - theirs.get(key, 0) for key, number in mine.items()}
            mine = left if name == "seconds" else {key: number for key, number in left.items() if number}
        elif isinstance(mine, list):
            mine = [a - b for a, b in zip(mine, theirs, strict=True)]
        else:
            mine -= theirs
        setattr(rest, name, mine)
    return rest

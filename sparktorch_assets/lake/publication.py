"""What a commit of predictions is about to publish, for those who may refuse it; and the records of what commits
published, from which later runs take the tallies of partitions without reading their parts."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa

from sparktorch_assets.lake.files.partition_values import Partition, partition_folder
from sparktorch_assets.lake.log.expiry import KEPT_COMMITS
from sparktorch_assets.lake.log.snapshot import data_version_of
from sparktorch_assets.lake.parts.file import PartFile
from sparktorch_assets.lake.parts.receipt import Receipt
from sparktorch_assets.lake.table import Table
from sparktorch_assets.lake.table_tally import TALLY_KEY, receipts
from sparktorch_assets.tally import Tally

_PUBLISHED, _VERSIONS = "published", "published_versions"
"""Keys of a commit's metadata: JSON objects from the folder of a partition (empty for the whole table) to its tally
and its data version."""
_PARTITION, _PARTITIONS = "partition", "partitions"
"""Keys of the metadata of a commit that covers one partition (its folder), or several (a JSON list)."""
_MOST_TALLIES = 200
"""A commit of more partitions records none of their tallies, which the parts' receipts hold as well: one tally takes
about 2 kB, and everyone who opens the table reads its log."""


class PartTallies(Mapping[str, Tally]):
    """Path -> tally, for some of the parts; a part is decoded when it is asked for."""

    def __init__(self, parts: Mapping[str, tuple[PartFile, Receipt]], paths: Iterable[str]) -> None:
        self._parts, self._paths = parts, dict.fromkeys(paths)

    def __getitem__(self, path: str) -> Tally:
        self._paths[path]
        return self._parts[path][1].tally

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


@dataclass(frozen=True, kw_only=True, slots=True)
class Publication:
    """The rows that a commit would publish: a whole table, or one partition of it."""

    table: Table
    """The table as it is before the commit."""
    partition: Partition
    """The partition; empty for the whole table."""
    schema: pa.Schema
    """The table's columns after the commit."""
    tally: Tally
    """The tally of the table, or of the partition, after the commit."""
    rows_in: int
    """Rows of the input, or of the partition of it, before the task's filter."""
    parts: Mapping[str, Tally]
    """Path -> tally, for the parts that this run adds. Their files are in the table's folder already, or, for a
    DataFrame, in a staging folder below it."""


Audit = Callable[[Publication], None]
"""Called before a commit, once for each partition that it covers. What it raises refuses that partition: nothing of it
is committed, and its finished parts stay in the table's folder. After a lost race it is called again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """What a commit publishes: a whole table, or one partition of it."""

    partition: Partition
    """The partition; empty for the whole table."""
    tally: Tally
    data_version: str
    """A hash of its parts' names and the table's columns: see `data_version_of`."""


def published_metadata(published: Iterable[Published]) -> dict[str, str]:
    """The metadata with which a commit records what it publishes."""
    scopes = {partition_folder(scope.partition): scope for scope in published}
    folders = [folder for folder in scopes if folder]
    named = {_PARTITION: folders[0]} if len(folders) == 1 else {_PARTITIONS: json.dumps(folders)} if folders else {}
    if len(scopes) > _MOST_TALLIES:
        return named
    return named | {
        _PUBLISHED: json.dumps({folder: scope.tally.to_plain() for folder, scope in scopes.items()}),
        _VERSIONS: json.dumps({folder: scope.data_version for folder, scope in scopes.items()}),
    }


def publications(table: Table) -> Iterator[dict[str, Tally]]:
    """What each commit up to the table's version published, the newest first: folder of a partition (empty for the
    whole table) -> tally. Commits that record nothing are left out."""
    for commit in table.commits():
        if _PUBLISHED in commit:
            yield {folder: Tally.from_plain(plain) for folder, plain in json.loads(commit[_PUBLISHED]).items()}
        elif TALLY_KEY in commit and not commit.keys() & {_PARTITION, _PARTITIONS}:
            # A commit of a whole table by a version that recorded no more than the table's tally.
            yield {"": Tally.from_plain(json.loads(commit[TALLY_KEY]))}


def partition_tallies(table: Table, partitions: Collection[Partition]) -> dict[Partition, Tally]:
    """The tallies of partitions as they are in the table: from the commits that published them or, where that would
    mean to read more commits than there are parts, from the parts' receipts."""
    listed, schema = table.snapshot.by_partition(), table.snapshot.schema
    untold = {partition: listed.get(partition, {}) for partition in partitions}
    tallies = {partition: Tally() for partition, parts in untold.items() if not parts}
    wanted = {
        partition_folder(partition): (partition, data_version_of(parts, schema))
        for partition, parts in untold.items()
        if parts
    }
    for commit in islice(table.commits(), sum(map(len, untold.values()))):
        if not wanted:
            break
        versions = json.loads(commit.get(_VERSIONS, "{}"))
        told = [folder for folder in wanted.keys() & versions.keys() if versions[folder] == wanted[folder][1]]
        if told:
            plain = json.loads(commit[_PUBLISHED])
            tallies |= {wanted.pop(folder)[0]: Tally.from_plain(plain[folder]) for folder in told}
    paths = {path for partition, _ in wanted.values() for path in untold[partition]}
    found = receipts(table, paths)
    for partition, _ in wanted.values():
        tallies[partition] = Tally.total(found[path] for path in untold[partition] if path in found)
    return tallies


def last_publications(table: Table, partitions: Collection[Partition]) -> dict[Partition, dict[str, str]]:
    """Our metadata of the commit that last published each of the partitions, `()` being the whole table. Partitions that
    none of the latest commits published are left out."""
    wanted = {partition_folder(partition): partition for partition in partitions}
    found: dict[Partition, dict[str, str]] = {}
    for commit in islice(table.commits(), max(KEPT_COMMITS, len(partitions))):
        if not wanted:
            break
        if TALLY_KEY in commit:
            covered = json.loads(commit.get(_PARTITIONS, "[]")) or [commit.get(_PARTITION, "")]
            found |= {wanted.pop(folder): commit for folder in wanted.keys() & set(covered)}
    return found

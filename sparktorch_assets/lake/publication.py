"""What a commit of predictions is about to publish, for those who may refuse it, and what earlier commits published."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from sparktorch_assets.lake.files.partition_values import Partition
from sparktorch_assets.lake.log.commit import METADATA_PREFIX
from sparktorch_assets.lake.log.history import commit_infos
from sparktorch_assets.lake.table import Table
from sparktorch_assets.lake.table_tally import TALLY_KEY
from sparktorch_assets.tally import Tally

PUBLISHED_KEY = "published"
"""Key of a commit's metadata: a JSON object, from the folder of a partition (empty for the whole table) to its
tally."""
_MOST_SCOPES = 200
"""A commit of more partitions records none of their tallies, which the parts' receipts hold as well: one tally takes
about 2 kB, and everyone who opens the table reads its log."""


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


def published_metadata(tallies: Mapping[str, Tally]) -> dict[str, str]:
    """The metadata with which a commit records what it publishes.

    Args:
        tallies: folder of each partition (empty for the whole table) -> tally.
    """
    if len(tallies) > _MOST_SCOPES:
        return {}
    return {PUBLISHED_KEY: json.dumps({folder: tally.to_plain() for folder, tally in tallies.items()})}


def publications(table: Table) -> Iterator[dict[str, Tally]]:
    """What each commit up to the table's version published, the newest first: folder of a partition (empty for the
    whole table) -> tally. Commits that record nothing are left out."""
    for commit in commit_infos(table.folder, table.version) if table.version is not None else ():
        recorded = commit.get(METADATA_PREFIX + PUBLISHED_KEY)
        if recorded is not None:
            yield {folder: Tally.from_plain(plain) for folder, plain in json.loads(recorded).items()}
        elif METADATA_PREFIX + TALLY_KEY in commit and METADATA_PREFIX + "partition" not in commit:
            # A commit of a whole table by a version that recorded no more than the table's tally.
            yield {"": Tally.from_plain(json.loads(commit[METADATA_PREFIX + TALLY_KEY]))}

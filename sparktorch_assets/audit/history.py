"""What was published before: the publications of a table that the next one is compared with."""

from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property
from itertools import islice
from urllib.parse import unquote

from sparktorch_assets.lake.files.partition_values import Partition, partition_folder
from sparktorch_assets.lake.log.expiry import KEPT_COMMITS
from sparktorch_assets.lake.publication import partition_tallies, publications
from sparktorch_assets.lake.table import Table
from sparktorch_assets.tally import Tally


class History:
    """The earlier publications of a table. The log is read once, when it is first asked for.

    Args:
        table: the table as it is before the publication.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._present: dict[Partition, Tally] = {}

    @property
    def version(self) -> int | None:
        """The table's version that this history ends with."""
        return self._table.version

    def before(self, partition: Partition, most: int, this_run: Mapping[str, Tally]) -> list[tuple[str, Tally]]:
        """The publications to compare with: the folder of the partition (empty for the whole table), and its tally.

        For a whole table, they are its latest ones. For a partition, they are its own, the latest first, and then the
        present rows of those partitions whose values come before it, the nearest first.

        Args:
            partition: the partition that is about to be published; empty for the whole table.
            most: the largest number of publications.
            this_run: the partitions that the same commit is going to publish as well: folder -> tally.
        """
        folder = partition_folder(partition)
        own = [(folder, tally) for tally in self._published[folder][:most]]
        if not partition:
            return own
        present = {partition_folder(found): found for found in self._table.snapshot.by_partition()}
        if not own and folder in present:
            own = [(folder, self._now(partition))]
        folders = sorted({*present, *this_run}, key=order_of_values, reverse=True)
        earlier = [name for name in folders if order_of_values(name) < order_of_values(folder)][: most - len(own)]
        return own + [(name, this_run.get(name) or self._now(present[name])) for name in earlier]

    def _now(self, partition: Partition) -> Tally:
        """The tally of a partition's present rows."""
        if partition not in self._present:
            self._present |= partition_tallies(self._table, [partition])
        return self._present[partition]

    @cached_property
    def _published(self) -> Mapping[str, list[Tally]]:
        found: dict[str, list[Tally]] = defaultdict(list)
        # Each is a file to be read.
        for commit in islice(publications(self._table), KEPT_COMMITS):
            for folder, tally in commit.items():
                found[folder].append(tally)
        return found


def order_of_values(folder: str) -> tuple[int, int, str]:
    """Where the partition with this folder comes in the order of values: whole numbers by size, then everything else by
    its text."""
    value = unquote(folder.rpartition("=")[2])
    try:
        return 0, int(value), ""
    except ValueError:
        return 1, 0, value

"""Keeps the number of rows at which a table's shards are cut, so that later runs, on any machine, plan the same shards.

Where no shard takes long, the input's files alone decide the cut, and there is no such number. A run that finds its shards
too long for the model measures the cost of a row and cuts at a number. That number belongs to what was measured: a model
and a task, by a digest. Every commit lists the numbers of the latest digests. Until the first commit of a digest, the number
lies in a small file in the table's folder: a run that is killed and taken up again reads it there, and of two runs
that measure at the same time, the first one to publish decides for both.
"""

import contextlib
import json
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.files.partition_values import Partition
from sparktorch_assets.lake.table import Table

SHARD_ROWS_KEY = "shard_rows"
"""Key of a commit's metadata: a JSON object from the beginning of a digest to the number; null if the files alone decide. A
list has the numbers of partitions that were cut differently."""
MOST_DIGESTS = 50
"""Each commit repeats the numbers of so many digests, the latest ones."""
_SHORT = 16
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardRows:
    """What is known about the number of rows at which a table is cut for one model and task."""

    key: str
    """The beginning of the digest of model and task."""
    rows: int | None = None
    """The number; `None` if the files alone decide."""
    others: tuple[int | None, ...] = ()
    """Other numbers of the same digest: runs of several partitions that started at the same time may have found
    different ones, or only one of them may have found its shards too long. Each partition keeps its own."""
    settled: bool = False
    """Whether an earlier run has decided that."""
    before_request: bool = False
    """Whether it is the number of the parts that are to be scored again at somebody's request."""

    @classmethod
    def find(
        cls, table: Table, digest: str, *, plain_digest: str = "", others: Iterable[Mapping[str, str]] = ()
    ) -> "ShardRows":
        """What the table's last commit says, or else the file that a run has left, or else another table.

        Args:
            table: the prediction table, which need not exist.
            digest: a digest of the model, the task, and the request to score rows again, if there was one.
            plain_digest: the digest without such a request.
            others: the metadata of the last commits of the tables from which parts are taken over. Parts of another cut
                have other names, so a promoted model is cut as the challenger's table was.
        """
        key = digest[:_SHORT]
        recorded = _recorded(table.metadata)
        if not table.snapshot.parts:  # nothing was scored, so nothing is known of a row's cost yet
            recorded = {key: rows for key, rows in recorded.items() if rows != (None,)}
        if key in recorded:
            return cls(key=key, rows=recorded[key][0], others=recorded[key][1:], settled=True)
        published = _published(table.folder, key)
        if published is not None:
            return cls(key=key, rows=published, settled=True)
        for other in map(_recorded, others):
            if key in other:
                return cls(key=key, rows=other[key][0], others=other[key][1:], settled=True)
        plain = recorded.get(plain_digest[:_SHORT])
        return cls(key=key, rows=plain[0] if plain else None, before_request=plain is not None)

    def published(self, folder: Folder, rows: int) -> "ShardRows":
        """Leave the number in the table's folder, unless another run has left one there.

        Returns:
            The number that counts.
        """
        temporary = f".{uuid.uuid4().hex}.tmp"  # a name that a vacuum knows as that of a temporary file
        try:
            with folder.open_output(temporary) as sink:
                sink.write(str(rows).encode())
            if not folder.publish(temporary, _path(self.key)):
                earlier = _published(folder, self.key)
                if earlier is None:  # cut short by a power failure
                    folder.replace(temporary, _path(self.key))
                else:
                    rows = earlier
        finally:
            with contextlib.suppress(OSError):
                folder.delete(temporary)
        # On a store, two runs may both have published; the file says which of them was last.
        return ShardRows(key=self.key, rows=_published(folder, self.key) or rows, settled=True)

    def metadata(self, last: Mapping[str, str], partition: Partition = ()) -> dict[str, str]:
        """What the next commit has to record.

        Args:
            last: the metadata of the commit that it follows, which another run may have made since the plan.
            partition: what is committed; empty for the whole table. Other partitions keep their numbers.
        """
        numbers = _recorded(last)
        earlier = numbers.pop(self.key, ())
        own = dict.fromkeys((*earlier, self.rows, *self.others) if partition else (self.rows,))
        # Small shards come first, so that it does not matter which of two runs is the first to commit.
        numbers[self.key] = tuple(sorted(own, key=lambda rows: (rows is None, rows)))
        latest = list(numbers.items())[-MOST_DIGESTS:]
        return {SHARD_ROWS_KEY: json.dumps({key: rows if len(rows) > 1 else rows[0] for key, rows in latest})}


def _recorded(metadata: Mapping[str, str]) -> dict[str, tuple[int | None, ...]]:
    found: dict[str, Any] = json.loads(metadata.get(SHARD_ROWS_KEY, "{}"))
    return {key: tuple(rows) if isinstance(rows, list) else (rows,) for key, rows in found.items()}


def _path(key: str) -> str:
    return f"_shard_rows-{key}"  # readers of a folder leave out names that begin with an underscore


def _published(folder: Folder, key: str) -> int | None:
    try:
        with folder.open_input(_path(key)) as source:
            text = source.read().decode(errors="replace")
    except OSError:  # there is none
        return None
    return int(text) if _NUMBER.fullmatch(text) else None

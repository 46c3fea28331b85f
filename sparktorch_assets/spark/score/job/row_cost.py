"""Finds out in the workers, while they score, whether a row costs so much that the table should be cut into smaller shards.

No job is run for that, and no model brought up: the first run of a table starts with the shards that its files give. Once a
worker has seen for half a second how long rows take, and finds that the largest shard would take too long, it ends its work and
returns the cost of a row instead. The whole job ends within seconds in this way, and its rows are dealt anew.
"""

import json
import math
import statistics
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from sparktorch_assets.tally import Tally


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardSeconds:
    """How long a shard should keep a slot busy."""

    least: float = 1.0
    """Shorter shards are not worth their parts."""
    most: float = 20.0
    """What a worker that dies may lose."""
    share: int = 64
    """Between these, this many shards: enough to keep some dozens of slots equally busy."""
    too_long: float = 8.0
    """A table is not cut anew for shards that take less than this."""
    watched: float = 0.5
    """Seconds of predicting, after the first batch, from which the cost of a row is taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RowCost:
    """What a row of the input costs one slot."""

    seconds: float
    batch_rows: int
    """Number of rows of the largest batch so far."""

    def shard_rows(self, rows: int, aim: ShardSeconds) -> int:
        """The number of rows of a shard: a power of two, so that runs which measure slightly different costs agree.

        For example, 60,000 rows of 1 ms take 60 s. A 64th of that is 0.9 s, so a shard should take 1 s: 1,000 rows, or
        rather 1,024.

        Args:
            rows: number of rows of the whole work.
            aim: how long a shard should take.
        """
        shard_s = min(max(self.seconds * rows / aim.share, aim.least), aim.most)
        wanted = shard_s / max(self.seconds, 1e-12)
        batch = 1 << (self.batch_rows - 1).bit_length()  # smaller shards would cut the model's batches short
        return max(1 << max(0, round(math.log2(wanted))), batch)

    def to_json(self) -> str:
        """The cost as one line of JSON, which is a result row of the Spark task."""
        return json.dumps({"row_cost": asdict(self)})


@dataclass(frozen=True, kw_only=True, slots=True)
class CostQuestion:
    """What a job's workers are asked to find out: whether its shards take too long."""

    rows: int
    """Number of rows of the whole work."""
    largest_rows: int
    """Number of rows of the largest shard."""
    aim: ShardSeconds
    job: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Names the job: a process answers once, for all packs that it gets of it."""

    def too_long(self, cost: RowCost) -> bool:
        """Whether the largest shard would take too long, and would be cut into two or more."""
        return self.largest_rows * cost.seconds > self.aim.too_long and self.largest_rows >= 2 * cost.shard_rows(
            self.rows, self.aim
        )


class RowsAreCostly(BaseException):
    """Raised among the calls of a model, where an `Exception` would be taken for the failure of a row."""

    def __init__(self, cost: RowCost) -> None:
        super().__init__(str(cost))
        self.cost = cost


class CostWatch:
    """Watches how a pack's rows get on, until the question of its job is answered."""

    def __init__(
        self, question: CostQuestion | None, tallies: Sequence[Tally], *, drops_predicted: bool = False
    ) -> None:
        """Start nothing.

        Args:
            question: `None` asks nothing.
            tallies: those of the pack's shards.
            drops_predicted: whether the rows that hooks drop have been predicted before.
        """
        self._question, self._tallies, self._drops_predicted = question, tallies, drops_predicted
        self._looked_s, self._predicted_rows, self._read_s = 0.0, 0, 0.0
        self._since_s: float | None = None
        """When the first batch was through."""
        self._paces: list[float] = []
        """Seconds per predicted row, from one look to the next."""

    @property
    def found(self) -> RowCost | None:
        """The cost of a row, if this process has found that the job's shards take too long: its further packs are left
        undone."""
        return None if self._question is None else _ANSWERS.get(self._question.job)

    def look(self) -> None:
        """Look at the batches that the tallies count. Called whenever rows are finished, from any thread.

        Raises:
            RowsAreCostly: the job's shards take too long.
        """
        question, now_s = self._question, time.perf_counter()
        if question is None or question.job in _ANSWERS or now_s - self._looked_s < _INTERVAL_S:
            return
        batches = [(int(size), count) for tally in self._tallies for size, count in list(tally.batch_sizes.items())]
        looked_s, self._looked_s = self._looked_s, now_s
        before, predicted_rows = self._predicted_rows, sum(size * count for size, count in batches)
        if predicted_rows == before:  # these rows were only left out
            self._looked_s = looked_s
            return
        self._predicted_rows = predicted_rows
        read_s, self._read_s = self._read_s, sum(tally.seconds.get("read", 0.0) for tally in self._tallies)
        if self._since_s is None:  # the first batch takes longer than others
            self._since_s = now_s
            return
        # Smaller shards would not make reading faster: each part of a row group decodes the rows before it, too.
        spent_s = max(0.0, now_s - looked_s - (self._read_s - read_s))
        self._paces.append(spent_s / (predicted_rows - before))
        if now_s - self._since_s < question.aim.watched or len(self._paces) < _LOOKS:
            return
        # The median, since a compiled network may also take long for its second batch, which has another size.
        cost = RowCost(
            seconds=statistics.median(self._paces) * self._share_for_model(),
            batch_rows=max(size for size, _ in batches),
        )
        _ANSWERS.clear()
        _ANSWERS[question.job] = cost if question.too_long(cost) else None
        if _ANSWERS[question.job]:
            raise RowsAreCostly(cost)

    def _share_for_model(self) -> float:
        """The share of the model's rows among those that were read: others are of other partitions, filtered, or dropped
        by a preprocessor."""
        rows = sum(tally.rows for tally in self._tallies)
        left_out = sum(tally.filtered + tally.outside for tally in self._tallies)
        dropped = 0 if self._drops_predicted else sum(tally.dropped for tally in self._tallies)
        return max(0, rows - dropped) / max(1, rows + left_out)


_INTERVAL_S = 0.01
"""A pack may have many shards, and their batches may be short."""
_LOOKS = 3
"""The smallest number of paces of which the median is taken."""
_ANSWERS: dict[str, RowCost | None] = {}
"""The job that this process has answered last, with the cost of a row if its shards take too long. Every pack of the job
that is left undone repeats the cost, since the results of others are lost if a worker dies."""

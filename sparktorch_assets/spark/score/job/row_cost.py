"""Finds out in the workers, while they score, whether a row costs so much that the table should be cut into smaller shards.

No job is run for that, and no model brought up: the first run of a table starts with the shards that its files give. Once a
worker has seen for half a second how long rows take, and finds that the largest shard would take too long, it ends its work and
returns the cost of a row instead. The whole job ends within seconds in this way, and its rows are dealt anew.
"""

import json
import math
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

    def __init__(self, question: CostQuestion | None, tallies: Sequence[Tally]) -> None:
        """Start nothing.

        Args:
            question: `None` asks nothing.
            tallies: those of the pack's shards.
        """
        self._question, self._tallies = question, tallies
        self._looked_s, self._predicted_rows = 0.0, 0
        self._since: tuple[float, int] | None = None
        """When the first batch was through, and the number of predicted rows then."""

    @property
    def ended(self) -> bool:
        """Whether this process has found that the job's shards take too long: its further packs are left undone."""
        return self._question is not None and _ANSWERS.get(self._question.job) is True

    def look(self) -> None:
        """Look at the batches that the tallies count. Called whenever rows are finished, from any thread.

        Raises:
            RowsAreCostly: the job's shards take too long.
        """
        question, now_s = self._question, time.perf_counter()
        if question is None or question.job in _ANSWERS or now_s - self._looked_s < _INTERVAL_S:
            return
        batches = [(int(size), count) for tally in self._tallies for size, count in list(tally.batch_sizes.items())]
        self._looked_s, predicted_rows = now_s, sum(size * count for size, count in batches)
        if predicted_rows == self._predicted_rows:  # these rows were only left out
            return
        self._predicted_rows = predicted_rows
        if self._since is None:  # the first batch takes longer than others
            self._since = now_s, predicted_rows
            return
        since_s, before = self._since
        if now_s - since_s < question.aim.watched:
            return
        seconds = (now_s - since_s) / (predicted_rows - before) * self._share_for_model()
        cost = RowCost(seconds=seconds, batch_rows=max(size for size, _ in batches))
        _ANSWERS.clear()
        _ANSWERS[question.job] = question.too_long(cost)
        if _ANSWERS[question.job]:
            raise RowsAreCostly(cost)

    def _share_for_model(self) -> float:
        """The share of the model's rows among those that were read: others are of other partitions, filtered or
        dropped."""
        rows = sum(tally.rows for tally in self._tallies)
        left_out = sum(tally.filtered + tally.outside for tally in self._tallies)
        return max(0, rows - sum(tally.dropped for tally in self._tallies)) / max(1, rows + left_out)


_INTERVAL_S = 0.01
"""A pack may have many shards, and their batches may be short."""
_ANSWERS: dict[str, bool] = {}
"""The job that this process has answered last: whether its shards take too long."""

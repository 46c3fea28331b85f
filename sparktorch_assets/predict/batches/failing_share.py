"""Estimates how often rows fail, and the batch size at which finding them costs least."""

import math

CALL_ROWS = 16.0
"""Fixed cost of one forward call, expressed in rows, as assumed until it has been measured."""

_FAILURE_COST = 1.25
"""Cost of a failing row, in batches: the batch that failed, and a quarter of it again during the search for the row."""
_MOST_FAILED, _MOST_SEEN = 64, 1 << 20
"""Once either count is exceeded, both are halved, because tables have good and bad stretches."""


class FailingShare:
    """Running share of failing rows, by rows or tokens; recent batches weigh more than older ones."""

    def __init__(self) -> None:
        self._seen = self._failed = 0.0

    def count(self, failed_rows: int, size: int) -> None:
        """Record a batch of `size` rows (or tokens) in which `failed_rows` rows failed."""
        if self._failed > _MOST_FAILED or self._seen > _MOST_SEEN:
            self._failed /= 2
            self._seen /= 2
        self._failed += failed_rows
        self._seen += size

    def best_size(self, call_size: float = CALL_ROWS) -> int | None:
        """The batch size at which failing rows cost least; `None` if no row has failed.

        With a share p of failing rows, batches of size b cost k / b per row for the calls and F b p per row for those
        that fail, where k is the fixed cost of a call, expressed as a size, and F the cost of a failing row. The sum is
        least at b = sqrt(k / (F p)), as in Young's formula for the interval between checkpoints. With k = 16 and one
        failing row in 1,000, b = sqrt(16 / (1.25 * 0.001)) = 113.
        """
        if not self._failed:
            return None
        return max(1, round(math.sqrt(call_size / _FAILURE_COST * self._seen / self._failed)))

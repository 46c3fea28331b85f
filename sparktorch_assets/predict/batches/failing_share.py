"""How often rows fail, and the batch size at which finding them costs least."""

import math

CALL_ROWS = 16.0
"""Rows that take as long as a call does beside its rows, where that was not measured."""

_WASTE = 1.25
"""What a failing row costs, in batches: its own, and a quarter of it again while the row is searched for."""
_MOST_FAILED, _MOST_SEEN = 64, 1 << 20
"""Beyond either, what came before counts half: tables have good and bad stretches."""


class FailingShare:
    """Counts rows (or tokens: any size) and failing rows, newer ones more than older ones."""

    def __init__(self) -> None:
        self._seen = self._failed = 0.0

    def count(self, failed_rows: int, size: int) -> None:
        """Take note of a batch of `size` in which so many rows failed."""
        if self._failed > _MOST_FAILED or self._seen > _MOST_SEEN:
            self._failed /= 2
            self._seen /= 2
        self._failed += failed_rows
        self._seen += size

    def best_size(self, call_size: float = CALL_ROWS) -> int | None:
        """The size of batches that makes the least of failing rows; `None` where none failed.

        With a share p of failing rows, batches of size b cost k / b a row for the calls and WASTE b p for those that
        fail (k: a call's own cost, as a size). The sum is least at b = sqrt(k / (WASTE p)).
        """
        if not self._failed:
            return None
        return max(1, round(math.sqrt(call_size / _WASTE * self._seen / self._failed)))

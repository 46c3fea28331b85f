"""How many rows fit into memory: fewer after it ran out, and more again, step by step, while batches succeed.

The bound is kept in rows per length bucket (the longest row's length, rounded up to a power of two), because the memory
of attention grows faster than the number of tokens. A bucket's bound also holds for the longer buckets.
"""

from collections.abc import Mapping
from dataclasses import dataclass

NO_LIMIT = 1 << 62

FIRST_WAIT = 8
"""Number of full batches that must succeed before a larger one is tried; doubled after every try that fails."""
REMEMBERED_WAIT = 64
"""The same number, for a size from an earlier run, which has already tried larger ones."""
GAP_DIVISOR = 16
"""The bisection ends once the gap to the smallest size that failed is at most 1/16 of the current size: with 96 rows
that fit and 102 that do not, no size between them is tried."""


@dataclass(slots=True)
class _Limit:
    rows: int
    """Number of rows that a batch may have."""
    wait: int
    fits: int = 0
    """The largest number of rows that fitted since a batch of that size or smaller last ran out of memory."""
    fails: int = NO_LIMIT
    """The smallest number of rows that did not fit."""
    trying: bool = False
    """Whether `rows` is a trial size of which no batch has succeeded yet."""
    full: int = 0
    """Number of full batches that succeeded since the last change."""

    def lower(self, rows: int) -> None:
        if rows <= self.fits:
            self.fits = 0
        self.fails = min(rows, self.fails)
        self.rows = max(1, self.fits, rows // 2)
        self.wait *= 2 if self.trying else 1
        self.full, self.trying = 0, False

    def fitted(self, rows: int) -> None:
        self.fits = max(self.fits, rows)
        if self.trying:
            self.trying = False
            if rows >= self.fails:  # the shortage of memory is over
                self.fails, self.wait = NO_LIMIT, max(FIRST_WAIT, self.wait // 2)
        self.full += 1
        if self.full >= self.wait:
            self._try_more()

    def _try_more(self) -> None:
        gap = self.fails - self.rows
        if self.fails >= NO_LIMIT:
            self.rows *= 2
        elif gap > max(1, self.rows // GAP_DIVISOR):
            self.rows += gap // 2
        else:
            self.rows = self.fails
        self.full, self.trying = 0, True


class MemoryLimits:
    """The number of rows per length bucket that may fit into memory.

    After a batch ran out of memory, half as many rows are allowed. Then sizes between the largest that fitted and the
    smallest that did not are tried (bisection), and finally the latter again, because whatever took the memory may be
    gone. Every failed try doubles the number of batches before the next one.

    Args:
        known: rows per length bucket that fitted in an earlier run.
    """

    def __init__(self, known: Mapping[int, int] | None = None) -> None:
        self._by_bucket = {bucket: _Limit(rows, REMEMBERED_WAIT) for bucket, rows in (known or {}).items()}

    def __bool__(self) -> bool:
        return bool(self._by_bucket)

    @property
    def known(self) -> dict[int, int]:
        """Rows per length bucket that are known to fit, for buckets with a bound. A trial size is not yet known."""
        return {
            bucket: one.fits if one.trying and one.fits else one.rows
            for bucket, one in self._by_bucket.items()
            if one.rows < NO_LIMIT
        }

    def max_rows(self, bucket: int) -> int:
        """The largest number of rows that a batch of this bucket may have."""
        return min((one.rows for below, one in self._by_bucket.items() if below <= bucket), default=NO_LIMIT)

    def out_of_memory(self, rows: int, bucket: int) -> None:
        """Record that a batch of `rows` rows did not fit."""
        self._by_bucket.setdefault(bucket, _Limit(NO_LIMIT, FIRST_WAIT)).lower(rows)

    def fitted(self, rows: int, bucket: int, wanted: int) -> None:
        """Record that a batch of `rows` rows fitted; without a bound, it would have had `wanted` rows."""
        for below, one in self._by_bucket.items():
            if below > bucket or one.rows >= NO_LIMIT or rows < min(one.rows, wanted):
                continue
            one.fitted(rows)
            if rows >= wanted:  # the bound no longer limits anything
                one.rows, one.fails = NO_LIMIT, NO_LIMIT

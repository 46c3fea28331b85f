"""How many rows fit into memory: less after it ran out, and more again, step by step, while batches go through.

What ran out is remembered as rows per length bucket (the longest row's length, rounded up to a power of two), because
attention grows faster than tokens do. A bucket bounds the longer ones, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass

NO_LIMIT = 1 << 62

FIRST_WAIT = 8
"""Full batches that go through before a larger one is tried; twice as many after every try that fails."""
REMEMBERED_WAIT = 64
"""The same where the size comes from an earlier run, which has tried already."""
CLOSE = 16
"""Within this fraction of the least size that failed, a size is close enough to it."""


@dataclass(slots=True)
class _Ceiling:
    rows: int
    """That a batch may have."""
    wait: int
    fits: int = 0
    """The most rows that went through, since so many or fewer did not."""
    fails: int = NO_LIMIT
    """The fewest rows that did not fit."""
    trying: bool = False
    """Whether `rows` is a try, and no batch of that size went through yet."""
    full: int = 0
    """Full batches that went through since the last change."""

    def lower(self, rows: int) -> None:
        if rows <= self.fits:
            self.fits = 0
        self.fails = min(rows, self.fails)
        self.rows = max(1, self.fits, rows // 2)
        self.wait *= 2 if self.trying else 1
        self.full, self.trying = 0, False

    def went_through(self, rows: int) -> None:
        self.fits = max(self.fits, rows)
        if self.trying:
            self.trying = False
            if rows >= self.fails:  # what was short has passed
                self.fails, self.wait = NO_LIMIT, max(FIRST_WAIT, self.wait // 2)
        self.full += 1
        if self.full >= self.wait:
            self._try_more()

    def _try_more(self) -> None:
        gap = self.fails - self.rows
        if self.fails >= NO_LIMIT:
            self.rows *= 2
        elif gap > max(1, self.rows // CLOSE):
            self.rows += gap // 2
        else:
            self.rows = self.fails
        self.full, self.trying = 0, True


class Ceilings:
    """Rows per length bucket that may fit.

    After a batch ran out of memory, half of it may fit; then sizes between the largest that fits and the least that does
    not are tried, and at last that one again: whatever took the memory may have gone. The more tries fail, the longer it
    is until the next.

    Args:
        known: rows per length bucket that fitted in an earlier run.
    """

    def __init__(self, known: Mapping[int, int] | None = None) -> None:
        self._by_bucket = {bucket: _Ceiling(rows, REMEMBERED_WAIT) for bucket, rows in (known or {}).items()}

    def __bool__(self) -> bool:
        return bool(self._by_bucket)

    @property
    def known(self) -> dict[int, int]:
        """Rows per length bucket, where there is a bound. A size that is being tried is not known to fit."""
        return {
            bucket: one.fits if one.trying and one.fits else one.rows
            for bucket, one in self._by_bucket.items()
            if one.rows < NO_LIMIT
        }

    def most(self, bucket: int) -> int:
        """Rows that a batch of that bucket may have."""
        return min((one.rows for below, one in self._by_bucket.items() if below <= bucket), default=NO_LIMIT)

    def out_of_memory(self, rows: int, bucket: int) -> None:
        """Take note that so many rows did not fit."""
        self._by_bucket.setdefault(bucket, _Ceiling(NO_LIMIT, FIRST_WAIT)).lower(rows)

    def went_through(self, rows: int, bucket: int, wanted: int) -> None:
        """Take note that so many rows did fit, of `wanted` that a batch would have without a bound."""
        for below, one in self._by_bucket.items():
            if below > bucket or one.rows >= NO_LIMIT or rows < min(one.rows, wanted):
                continue
            one.went_through(rows)
            if rows >= wanted:  # nothing is bound any more
                one.rows, one.fails = NO_LIMIT, NO_LIMIT

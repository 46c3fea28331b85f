"""How large the next batch may be: as pinned, or the fastest size found on the first rows; and no larger than what fits
into memory. Sizes are rows, or padded tokens where rows have lengths.
"""

from collections.abc import Mapping

from sparktorch_assets.predict.batches.ceilings import NO_LIMIT, Ceilings
from sparktorch_assets.predict.batches.failing_share import CALL_ROWS, FailingShare
from sparktorch_assets.tasks.batch_policy import BatchPolicy

FIRST_ROWS = 32
FIRST_TOKENS = 2_048
FIRST_WINDOW_ROWS = 256
GROWTH = 4
WORTH = 1.1
"""A larger size is kept while it brings a tenth more rows (or tokens) a second."""

SAMPLES = 3
"""Batches of each size whose best counts: a single one says more of the machine than of the size."""
LONG_S = 1.0
"""A batch that takes so long gains nothing from being larger."""
MOST_ROWS, MOST_TOKENS = 16_384, 1 << 20
"""Sizes that are tried at most: beyond, nothing was found to gain."""
MOST_WINDOW_ROWS = 65_536
"""Rows to encode at once at most."""

TOKEN_BYTES = 9
"""An int64 id and a bool."""


class BatchSizer:
    """The limits of the next batch, learnt while predicting; nothing is predicted twice to find them. It belongs to the one
    thread that predicts.

    Args:
        policy: the task's limits.
        has_lengths: whether rows have tokens; sizes are then tokens.
        rows: a size in rows that goes before the policy.
        ceilings: rows per length bucket that are known to fit, from an earlier run.
    """

    def __init__(
        self,
        policy: BatchPolicy,
        *,
        has_lengths: bool = False,
        rows: int | None = None,
        ceilings: Mapping[int, int] | None = None,
    ) -> None:
        self.has_lengths = has_lengths
        self._ceilings = Ceilings(ceilings)
        self.rows = rows or policy.batch_size or NO_LIMIT
        self.tokens = NO_LIMIT if rows else policy.max_tokens or NO_LIMIT
        self._max_bytes = None if rows else policy.max_bytes
        if self._max_bytes is not None and has_lengths:
            self.tokens = min(self.tokens, max(1, self._max_bytes // TOKEN_BYTES))
        self._window_bytes = policy.window_bytes
        self._window_rows = policy.window_rows if has_lengths else MOST_WINDOW_ROWS
        self._row_bytes: int | None = None
        self.searching = rows is None and not policy.pinned
        self._pinned = not self.searching
        self._failing = FailingShare()
        self._spoilt = 0
        self._rates: dict[int, float] = {}
        self._samples: list[float] = []
        self._warm = False
        if self.searching:
            self._set(FIRST_TOKENS if has_lengths else FIRST_ROWS)

    @property
    def fitting_rows(self) -> int:
        """Rows of a window: their encoded inputs take no more than the policy's `window_bytes`. Few, until it is known how
        many bytes a row takes."""
        if self._row_bytes is None:
            return min(self._window_rows, FIRST_WINDOW_ROWS) if self.has_lengths else FIRST_ROWS
        return max(1, min(self._window_rows, self._window_bytes // max(1, self._row_bytes)))

    def rows_take(self, row_bytes: int) -> None:
        """Take note of the bytes of a row's encoded inputs, on average."""
        if row_bytes == self._row_bytes:
            return
        self._row_bytes = row_bytes
        if self.searching:
            self._set(min(self._size, self._most_tried))

    @property
    def _most_tried(self) -> int:
        """The largest size that is worth a try: a power of two that a window fills, or else it would never be seen."""
        if not self.has_lengths:
            return min(MOST_ROWS, _power_below(self.fitting_rows))
        row_tokens = max(1, (self._row_bytes or 0) // TOKEN_BYTES)
        return min(MOST_TOKENS, _power_below(row_tokens * self.fitting_rows))

    @property
    def ceilings(self) -> dict[int, int]:
        """Rows per length bucket that are known to fit, where memory ran out."""
        return self._ceilings.known

    def most(self, longest: int) -> int:
        """Rows that a batch with a longest row of this many tokens (0 without lengths) may have."""
        wanted = self._wanted(longest)
        return min(wanted, self._ceilings.most(length_bucket(longest))) if self._ceilings else wanted

    def _wanted(self, longest: int) -> int:
        """The same, if memory had no end."""
        by_tokens = max(1, self.tokens // max(1, longest)) if self.has_lengths else NO_LIMIT
        return max(1, min(self.rows, by_tokens, self._by_bytes, self._among_failing // max(1, longest)))

    @property
    def _by_bytes(self) -> int:
        if self._max_bytes is None or self.has_lengths:
            return NO_LIMIT
        return FIRST_ROWS if self._row_bytes is None else self._max_bytes // max(1, self._row_bytes)

    @property
    def _among_failing(self) -> int:
        """The size at which failing rows cost least, going by those so far; a size that the user pinned stays."""
        best = None if self._pinned or self.searching else self._failing.best_size(self._call_size)
        return NO_LIMIT if best is None else best

    @property
    def _call_size(self) -> float:
        """What takes as long as a call does beside its rows, going by the smallest and the largest size tried."""
        if len(self._rates) < 2:
            return CALL_ROWS
        (small, small_s), *_, (large, large_s) = ((size, size / rate) for size, rate in self._rates.items())
        each_s = (large_s - small_s) / (large - small)
        return max(1.0, small_s / each_s - small) if each_s > 0 else CALL_ROWS

    def failed(self, failed_rows: int, size: int) -> None:
        """Take note that so many rows of a batch of `size` rows (padded tokens) made it fail."""
        self._failing.count(failed_rows, size)
        if self.searching and failed_rows and size > 0.5 * self._size:
            self._spoilt += 1
            if self._spoilt >= SAMPLES:  # no batch of this size gets through to be measured
                self._settle()

    def measured(self, size: int, seconds: float) -> None:
        """Take note that a batch of `size` rows (padded tokens where there are lengths) took so long."""
        if not self.searching or size < 0.5 * self._size:  # a short batch says nothing of its size
            return
        if not self._warm:  # the first forward pass pays for allocations and lazy set-up
            self._warm = True
            return
        self._samples.append(size / max(seconds, 1e-9))
        if len(self._samples) < SAMPLES and seconds < LONG_S:
            return
        self._rates[self._size] = max(self._samples)  # what the machine did meanwhile only ever makes a batch slower
        self._samples.clear()
        self._spoilt = 0
        *_, before_last, last = (0.0, 0.0, *self._rates.values())
        best_before = max((0.0, *list(self._rates.values())[:-2]))
        gains = max(before_last, last) >= WORTH * best_before  # two sizes in a row without a gain end the search
        if gains and seconds < LONG_S and self._size < self._most_tried:
            self._set(min(self._size * GROWTH, self._most_tried))
        else:
            self._settle()

    def went_through(self, rows: int, longest: int) -> None:
        """Take note that so many rows fitted into memory: the next batch may be larger, where it was bound by that."""
        if self._ceilings:
            self._ceilings.went_through(rows, length_bucket(longest), self._wanted(longest))

    def out_of_memory(self, rows: int, longest: int) -> None:
        """Take note that so many rows did not fit: half of them may."""
        self._ceilings.out_of_memory(rows, length_bucket(longest))
        if self.searching:
            tried, sizes = self._size, list(self._rates)
            self._settle()
            if not sizes or self._size == sizes[-1]:  # larger sizes have gained so far: as large as fits, then
                self._set(tried)

    def _settle(self) -> None:
        self.searching = False
        if self._rates:
            best = max(self._rates.values())
            self._set(min(size for size, rate in self._rates.items() if rate * WORTH >= best))

    def _set(self, size: int) -> None:
        self._size = size
        if self.has_lengths:
            self.tokens = size
        else:
            self.rows = size


def length_bucket(longest: int) -> int:
    """The power of two at or above a length.

    >>> [length_bucket(length) for length in (0, 1, 2, 3, 64, 65)]
    [0, 1, 2, 4, 64, 128]
    """
    return 1 << (longest - 1).bit_length() if longest > 0 else 0


def _power_below(size: int) -> int:
    """The power of two at or below a size."""
    return 1 << size.bit_length() - 1

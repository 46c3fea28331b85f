"""How large the next batch may be: the pinned size, or the size found to be fastest on the first rows, and never larger
than what fits into memory. Sizes are in rows, or in padded tokens if rows have lengths.
"""

from collections.abc import Mapping

from sparktorch_assets.predict.batches.failing_share import CALL_ROWS, FailingShare
from sparktorch_assets.predict.batches.memory_limits import NO_LIMIT, MemoryLimits
from sparktorch_assets.tasks.batch_policy import BatchPolicy

FIRST_ROWS = 32
FIRST_TOKENS = 2_048
FIRST_WINDOW_ROWS = 256
GROWTH = 4
MIN_GAIN = 1.1
"""A larger size is kept only if it brings at least 10% more rows (or tokens) per second."""
MAX_LOSS = 1.05
"""A size at which rows (or tokens) take 5% longer than at the one before ends the search: the batch has outgrown the
cache, and larger ones would only cost time."""

SAMPLES = 3
"""Number of batches timed per size; the fastest counts. A single one says more about the machine than the size."""
LONG_PASS_S = 1.0
"""A batch whose forward passes take this long gains nothing from being larger."""
MAX_ROWS, MAX_TOKENS = 16_384, 1 << 20
"""The largest sizes that are tried; no gain was measured beyond them."""
MAX_WINDOW_ROWS = 65_536
"""The largest number of rows that are encoded at once."""

TOKEN_BYTES = 9
"""Bytes per token: an int64 id and a bool of the mask."""


class BatchSizer:
    """The limits of the next batch, found while predicting; no row is predicted twice to find them. Not thread-safe:
    only the thread that predicts uses it.

    Args:
        policy: the task's limits.
        has_lengths: whether rows have lengths in tokens; sizes are then in tokens.
        rows: a size in rows that takes precedence over the policy.
        max_rows_by_length: rows per length bucket that are known to fit, from an earlier run.
        passes: number of forward passes that a batch takes: more than one if tokens are generated.
    """

    def __init__(
        self,
        policy: BatchPolicy,
        *,
        has_lengths: bool = False,
        rows: int | None = None,
        max_rows_by_length: Mapping[int, int] | None = None,
        passes: int = 1,
    ) -> None:
        self.has_lengths = has_lengths
        self._long_batch_s = LONG_PASS_S * passes
        self._limits = MemoryLimits(max_rows_by_length)
        self.rows = rows or policy.batch_size or NO_LIMIT
        self.tokens = NO_LIMIT if rows else policy.max_tokens or NO_LIMIT
        self._max_bytes = None if rows else policy.max_bytes
        if self._max_bytes is not None and has_lengths:
            self.tokens = min(self.tokens, max(1, self._max_bytes // TOKEN_BYTES))
        self._window_bytes = policy.window_bytes
        self._window_rows = policy.window_rows if has_lengths else MAX_WINDOW_ROWS
        self._row_bytes: int | None = None
        self.searching = rows is None and not policy.pinned
        self._pinned = not self.searching
        self._failing = FailingShare()
        self._failed_batches = 0
        self._rates: dict[int, float] = {}
        self._samples: list[float] = []
        self._warm = False
        if self.searching:
            self._set(FIRST_TOKENS if has_lengths else FIRST_ROWS)

    @property
    def fitting_rows(self) -> int:
        """The number of rows of a window whose encoded inputs take at most the policy's `window_bytes`; a small number
        until the size of a row is known."""
        if self._row_bytes is None:
            return min(self._window_rows, FIRST_WINDOW_ROWS) if self.has_lengths else FIRST_ROWS
        return max(1, min(self._window_rows, self._window_bytes // max(1, self._row_bytes)))

    @property
    def window_rows(self) -> int:
        """The number of rows to encode at once: a whole number of batches; with lengths, enough rows to batch those of
        similar length together."""
        if self.searching:
            return min(self.fitting_rows, MAX_ROWS)
        rows = self.rows if self.has_lengths else self.max_rows(0)
        return self.fitting_rows if rows >= NO_LIMIT else rows * max(1, self.fitting_rows // rows)

    def set_row_bytes(self, row_bytes: int) -> None:
        """Record the average number of bytes of a row's encoded inputs."""
        if row_bytes == self._row_bytes:
            return
        self._row_bytes = row_bytes
        if self.searching:
            self._set(min(self._size, self._max_size))

    @property
    def _max_size(self) -> int:
        """The largest size to try: the largest power of two that a window can fill, since no larger batch can occur."""
        if not self.has_lengths:
            return min(MAX_ROWS, _power_below(self.fitting_rows))
        row_tokens = max(1, (self._row_bytes or 0) // TOKEN_BYTES)
        return min(MAX_TOKENS, _power_below(row_tokens * self.fitting_rows))

    @property
    def max_rows_by_length(self) -> dict[int, int]:
        """Rows per length bucket that are known to fit, for buckets in which memory ran out."""
        return self._limits.known

    def max_rows(self, longest: int) -> int:
        """The largest number of rows of a batch whose longest row has `longest` tokens (0 without lengths)."""
        wanted = self._wanted(longest)
        return min(wanted, self._limits.max_rows(length_bucket(longest))) if self._limits else wanted

    def _wanted(self, longest: int) -> int:
        """The same as `most`, ignoring memory."""
        by_tokens = max(1, self.tokens // max(1, longest)) if self.has_lengths else NO_LIMIT
        return max(1, min(self.rows, by_tokens, self._by_bytes, self._among_failing // max(1, longest)))

    @property
    def _by_bytes(self) -> int:
        if self._max_bytes is None or self.has_lengths:
            return NO_LIMIT
        return FIRST_ROWS if self._row_bytes is None else self._max_bytes // max(1, self._row_bytes)

    @property
    def _among_failing(self) -> int:
        """The size at which failing rows cost least, judging by the rows so far; no limit if the user pinned a size."""
        best = None if self._pinned or self.searching else self._failing.best_size(self._call_size)
        return NO_LIMIT if best is None else best

    @property
    def _call_size(self) -> float:
        """Fixed cost of one forward call, in rows (or tokens): the intercept over the slope of seconds against batch
        size, from the smallest and the largest size tried. With 32 rows in 2 ms and 512 rows in 8 ms, the slope is 12.5
        us per row, the intercept 1.6 ms, and the cost 128 rows."""
        if len(self._rates) < 2:
            return CALL_ROWS
        (small, small_s), *_, (large, large_s) = ((size, size / rate) for size, rate in self._rates.items())
        each_s = (large_s - small_s) / (large - small)
        return max(1.0, small_s / each_s - small) if each_s > 0 else CALL_ROWS

    def failed(self, failed_rows: int, size: int) -> None:
        """Record that `failed_rows` rows made a batch of `size` rows (or padded tokens) fail."""
        self._failing.count(failed_rows, size)
        if self.searching and failed_rows and size > 0.5 * self._size:
            self._failed_batches += 1
            if self._failed_batches >= SAMPLES:  # no batch of this size succeeds, so none can be measured
                self._settle()

    def measured(self, size: int, seconds: float) -> None:
        """Record that a batch of `size` rows (padded tokens if rows have lengths) took `seconds`."""
        if not self.searching or size < 0.5 * self._size:  # a short batch says nothing about the full size
            return
        if not self._warm:  # the first forward pass includes allocations and lazy initialization
            self._warm = True
            return
        self._samples.append(size / max(seconds, 1e-9))
        if len(self._samples) < SAMPLES and seconds < self._long_batch_s:
            return
        self._rates[self._size] = max(self._samples)  # other load on the machine can only make a batch slower
        self._samples.clear()
        self._failed_batches = 0
        *_, before_last, last = (0.0, 0.0, *self._rates.values())
        best_before = max((0.0, *list(self._rates.values())[:-2]))
        gains = max(before_last, last) >= MIN_GAIN * best_before  # two sizes in a row without a gain end the search
        if gains and seconds < self._long_batch_s and self._size < self._max_size:
            self._set(min(self._size * GROWTH, self._max_size))
        else:
            self._settle()

    def fitted(self, rows: int, longest: int) -> None:
        """Record that a batch of `rows` rows fitted into memory; if that was the limit, the next one may be larger."""
        if self._limits:
            self._limits.fitted(rows, length_bucket(longest), self._wanted(longest))

    def out_of_memory(self, rows: int, longest: int) -> None:
        """Record that a batch of `rows` rows did not fit into memory; the next one may have half as many."""
        self._limits.out_of_memory(rows, length_bucket(longest))
        if self.searching:
            tried, sizes = self._size, list(self._rates)
            self._settle()
            if not sizes or self._size == sizes[-1]:  # larger sizes were still faster: take the largest that fits
                self._set(tried)

    def _settle(self) -> None:
        self.searching = False
        if self._rates:
            best = max(self._rates.values())
            self._set(min(size for size, rate in self._rates.items() if rate * MIN_GAIN >= best))

    def _set(self, size: int) -> None:
        self._size = size
        if self.has_lengths:
            self.tokens = size
        else:
            self.rows = size


def length_bucket(longest: int) -> int:
    """The smallest power of two that is not below `longest`; 0 for 0.

    >>> [length_bucket(length) for length in (0, 1, 2, 3, 64, 65)]
    [0, 1, 2, 4, 64, 128]
    """
    return 1 << (longest - 1).bit_length() if longest > 0 else 0


def _power_below(size: int) -> int:
    """The largest power of two that is not above `size`."""
    return 1 << size.bit_length() - 1

"""How large the next batch may be: as pinned, or the fastest size found on the first rows; and never again as large as
what ran out of memory.

Sizes are rows, or padded tokens where rows have lengths. What ran out of memory is remembered as rows per length bucket
(the longest row's length, rounded up to a power of two), because attention grows faster than tokens do.
"""

from collections.abc import Mapping

from sparktorch_assets.tasks.batch_policy import BatchPolicy

FIRST_ROWS = 32
FIRST_TOKENS = 2_048
GROWTH = 4
WORTH = 1.1
"""A larger size is kept while it brings a tenth more rows (or tokens) a second."""

SAMPLES = 3
"""Batches of each size whose best counts: a single one says more of the machine than of the size."""
LONG_S = 1.0
"""A batch that takes so long gains nothing from being larger."""
MOST_SIZE = 1 << 20
"""Rows or padded tokens that are tried at most."""

CLEAN_SHARE = 0.9
LEAST_ROWS = 16

TOKEN_BYTES = 9
"""An int64 id and a bool."""

NO_LIMIT = 1 << 62


class BatchSizer:
    """The limits of the next batch, learnt while predicting; nothing is predicted twice to find them.

    Args:
        policy: the task's limits.
        row_bytes: bytes of a row's encoded inputs, without texts.
        has_lengths: whether rows have tokens; sizes are then tokens.
        most_rows: no batch has more.
        rows: a size in rows that goes before the policy.
        ceilings: rows per length bucket that are known to fit, from an earlier run.
    """

    def __init__(
        self,
        policy: BatchPolicy,
        *,
        row_bytes: int = 0,
        has_lengths: bool = False,
        most_rows: int = NO_LIMIT,
        rows: int | None = None,
        ceilings: Mapping[int, int] | None = None,
    ) -> None:
        self.has_lengths = has_lengths
        self.ceilings = dict(ceilings or {})
        self.rows = rows or policy.batch_size or NO_LIMIT
        self.tokens = NO_LIMIT if rows else policy.max_tokens or NO_LIMIT
        if policy.max_bytes is not None and not rows:
            if has_lengths:
                self.tokens = min(self.tokens, max(1, policy.max_bytes // TOKEN_BYTES))
            else:
                self.rows = min(self.rows, max(1, policy.max_bytes // max(1, row_bytes)))
        self._most_rows = most_rows
        self.rows = min(self.rows, most_rows)
        self.searching = rows is None and not policy.pinned
        self._pinned = not self.searching
        self._seen_rows = self._failed_rows = 0
        self._rates: dict[int, float] = {}
        self._samples: list[float] = []
        self._warm = False
        if self.searching:
            self._set(FIRST_TOKENS if has_lengths else FIRST_ROWS)

    def most(self, longest: int) -> int:
        """Rows that a batch with a longest row of this many tokens (0 without lengths) may have."""
        by_tokens = max(1, self.tokens // max(1, longest)) if self.has_lengths else NO_LIMIT
        fits = min(
            (rows for bucket, rows in self.ceilings.items() if bucket <= length_bucket(longest)), default=NO_LIMIT
        )
        return max(1, min(self.rows, by_tokens, fits, self._mostly_clean))

    @property
    def _mostly_clean(self) -> int:
        """Rows of which CLEAN_SHARE of the batches hold no failing one, going by the rows so far.

        A batch with a failing row costs up to two and a half times a clean one, cut up to find it: where rows keep failing, smaller
        batches waste less. A size that the user pinned stays.
        """
        if self._pinned or not self._failed_rows:
            return NO_LIMIT
        return max(LEAST_ROWS, round((1 - CLEAN_SHARE) * self._seen_rows / self._failed_rows))

    def failed(self, failed_rows: int, rows: int) -> None:
        """Take note that so many rows of a batch of `rows` made it fail."""
        self._failed_rows += failed_rows
        self._seen_rows += rows

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
        *_, before_last, last = (0.0, 0.0, *self._rates.values())
        best_before = max((0.0, *list(self._rates.values())[:-2]))
        gains = max(before_last, last) >= WORTH * best_before  # two sizes in a row without a gain end the search
        grown = self._size * GROWTH
        if gains and seconds < LONG_S and (self.has_lengths or grown <= self._most_rows) and grown <= MOST_SIZE:
            self._set(grown)
        else:
            self._settle()

    def keep_below(self, ceilings: Mapping[int, int]) -> None:
        """Start from what an earlier run found to fit."""
        for bucket, rows in ceilings.items():
            self.ceilings[bucket] = min(rows, self.ceilings.get(bucket, rows))

    def out_of_memory(self, rows: int, longest: int) -> None:
        """Take note that so many rows did not fit: half of them may."""
        bucket = length_bucket(longest)
        self.ceilings[bucket] = max(1, min(self.ceilings.get(bucket, NO_LIMIT), rows // 2))
        if self.searching:
            self._settle()

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
            self.rows = min(size, self._most_rows)


def length_bucket(longest: int) -> int:
    """The power of two at or above a length.

    >>> [length_bucket(length) for length in (0, 1, 2, 3, 64, 65)]
    [0, 1, 2, 4, 64, 128]
    """
    return 1 << (longest - 1).bit_length() if longest > 0 else 0

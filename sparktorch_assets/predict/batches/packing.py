"""Cuts the rows of a window into batches, of rows with similar lengths (length-bucketed batching)."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from sparktorch_assets.predict.batches.sizer import BatchSizer
from sparktorch_assets.predict.failures import Rows


class PackedBatches:
    """The batches of `rows`; rows with lengths are sorted first, shortest first, to keep padding small.

    The sizer is asked before every batch, since it learns from the earlier ones. With lengths, a batch ends before its
    padded size (rows times the longest row) would exceed `sizer.tokens`; a longer row gets a batch of its own. With 10
    tokens per batch, rows of lengths [9, 3, 2, 3] give batches of lengths [2, 3, 3] and [9]. Every row is in exactly
    one batch, unless it is put back.
    """

    def __init__(self, rows: Rows, lengths_N: npt.NDArray[np.int64] | None, sizer: BatchSizer) -> None:
        self._rows = rows if lengths_N is None else rows[np.argsort(lengths_N[rows], kind="stable")]
        self._lengths = None if lengths_N is None else np.maximum(lengths_N[self._rows], 1)
        self._sizer = sizer
        self._start = 0
        self.returned = 0
        """Number of rows of the current batch that were put back."""
        self.continues = False
        """Whether the current batch begins with rows that were put back."""

    def __iter__(self) -> Iterator[Rows]:
        while self._start < len(self._rows):
            start, self.continues, self.returned = self._start, self.returned > 0, 0
            self._start = min(start + self._next_size(start), len(self._rows))
            yield self._rows[start : self._start]

    def put_back(self, rows: int) -> None:
        """Let the next batch begin with the last `rows` rows of this one."""
        self.returned = rows
        self._start -= rows

    def _next_size(self, start: int) -> int:
        """The number of rows of the batch that begins at `start`; possibly more than are left."""
        sizer = self._sizer
        if self._lengths is None:
            return sizer.max_rows(0)
        lengths = self._lengths[start : start + sizer.rows]
        # Padded size of the batch [start, i]: (i - start + 1) rows, each padded to the length of row i, the longest so
        # far.
        padded = lengths * np.arange(1, len(lengths) + 1)
        size = max(1, int(np.searchsorted(padded, sizer.tokens, side="right")))
        return min(size, sizer.max_rows(int(lengths[size - 1])))  # fewer if rows of this length ran out of memory

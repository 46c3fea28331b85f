"""Cuts the rows of a window into batches, of rows with similar lengths (length-bucketed batching)."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from sparktorch_assets.predict.batches.sizer import BatchSizer
from sparktorch_assets.predict.failures import Rows


def batches_of(rows: Rows, lengths_N: npt.NDArray[np.int64] | None, sizer: BatchSizer) -> Iterator[Rows]:
    """Cut `rows` into batches; rows with lengths are sorted first, shortest first, to keep padding small.

    The sizer is asked before every batch, since it learns from the earlier ones. With lengths, a batch ends before its
    padded size (rows times the longest row) would exceed `sizer.tokens`; a longer row gets a batch of its own. With 10
    tokens per batch, rows of lengths [9, 3, 2, 3] give batches of lengths [2, 3, 3] and [9]. Every row is in exactly
    one batch.
    """
    if lengths_N is None:
        start = 0
        while start < len(rows):
            stop = start + sizer.max_rows(0)
            yield rows[start:stop]
            start = stop
        return
    ordered = rows[np.argsort(lengths_N[rows], kind="stable")]
    lengths = np.maximum(lengths_N[ordered], 1)
    start = 0
    while start < len(ordered):
        stop = min(start + sizer.rows, len(ordered))
        # Padded size of the batch [start, i]: (i - start + 1) rows, each padded to the length of row i, the longest so
        # far.
        padded = lengths[start:stop] * np.arange(1, stop - start + 1)
        stop = start + max(1, int(np.searchsorted(padded, sizer.tokens, side="right")))
        stop = min(
            stop, start + sizer.max_rows(int(lengths[stop - 1]))
        )  # fewer if rows of this length ran out of memory
        yield ordered[start:stop]
        start = stop

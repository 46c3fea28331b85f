"""Which rows of a window go into one batch."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from sparktorch_assets.predict.batches.sizer import BatchSizer
from sparktorch_assets.predict.failures import Rows


def pack(rows: Rows, lengths_N: npt.NDArray[np.int64] | None, sizer: BatchSizer) -> Iterator[Rows]:
    """Cut `rows` into batches; where rows have lengths, shortest first, so that like ones pad each other little.

    The sizer is asked before every batch, since it learns from those before. With lengths, a batch closes before its
    rows times its longest row would pass the sizer's tokens; a row longer than that stands alone. Every row is in
    exactly one batch.
    """
    if lengths_N is None:
        start = 0
        while start < len(rows):
            stop = start + sizer.most(0)
            yield rows[start:stop]
            start = stop
        return
    ordered = rows[np.argsort(lengths_N[rows], kind="stable")]
    lengths = np.maximum(lengths_N[ordered], 1)
    start = 0
    while start < len(ordered):
        stop = min(start + sizer.rows, len(ordered))
        # Padded size of the batch [start, i]: (i - start + 1) rows, each as long as row i, the longest so far.
        padded = lengths[start:stop] * np.arange(1, stop - start + 1)
        stop = start + max(1, int(np.searchsorted(padded, sizer.tokens, side="right")))
        stop = min(stop, start + sizer.most(int(lengths[stop - 1])))  # less where its longest row ran out of memory
        yield ordered[start:stop]
        start = stop

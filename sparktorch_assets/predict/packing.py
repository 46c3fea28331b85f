"""Which rows of a window go into one batch."""

import numpy as np
import numpy.typing as npt

from sparktorch_assets.predict.failures import Rows


def pack(
    rows: Rows, lengths_N: npt.NDArray[np.int64] | None, *, batch_size: int, max_tokens: int | None = None
) -> list[Rows]:
    """Cut `rows` into batches of `batch_size`; where rows have lengths, like ones together and padded tokens bounded.

    With lengths, rows are taken shortest first, and a batch closes before its rows times its longest row would pass
    `max_tokens`. A row longer than that stands alone. Every row is in exactly one batch.

    >>> [batch.tolist() for batch in pack(np.arange(3), np.array([5, 1, 2]), batch_size=2)]
    [[1, 2], [0]]
    """
    if lengths_N is None:
        return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    ordered = rows[np.argsort(lengths_N[rows], kind="stable")]
    lengths = np.maximum(lengths_N[ordered], 1)
    batches: list[Rows] = []
    start = 0
    while start < len(ordered):
        stop = min(start + batch_size, len(ordered))
        if max_tokens is not None:
            # Padded size of the batch [start, i]: (i - start + 1) rows, each as long as row i, the longest so far.
            padded = lengths[start:stop] * np.arange(1, stop - start + 1)
            stop = start + max(1, int(np.searchsorted(padded, max_tokens, side="right")))
        batches.append(ordered[start:stop])
        start = stop
    return batches

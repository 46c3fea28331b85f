"""Finds equal rows of a window, so that each distinct row is predicted once."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparktorch_assets.predict.failures import Rows


def distinct_rows(batch: pa.RecordBatch) -> tuple[Rows, Rows]:
    """The first row of each set of equal rows, in order, and for every row the index of its representative among them.

    Columns of nested types cannot be compared: in a batch that has one, all rows count as distinct.

    >>> distinct_rows(pa.record_batch({"a": ["x", "y", "x"]}))
    (array([0, 1]), array([0, 1, 0]))
    """
    rows = batch.num_rows
    everything = np.arange(rows)
    if any(pa.types.is_nested(column.type) for column in batch.columns) or not batch.num_columns:
        return everything, everything
    group: npt.NDArray[np.int64] = np.zeros(rows, dtype=np.int64)
    for column in batch.columns:
        coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        code = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64) + 1
        # Renumber the pairs (group so far, this column's value), so that group numbers stay below the number of rows.
        _, group = np.unique(group * (len(coded.dictionary) + 1) + code, return_inverse=True)
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return first[order], place[inverse]

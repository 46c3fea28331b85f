"""Arrow arrays from pieces of a window, and lists from matrices, without a loop over rows.

Shapes: N rows, E width.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sparktorch_assets.predict.failures import Rows


def float_lists(values_NE: npt.NDArray[np.float32]) -> pa.Array:
    """A `list<float>` array with one list per row, sharing the values' memory."""
    return nested_lists(values_NE, pa.list_(pa.float32()))


def nested_lists(values: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    """An array with one value per row: a number, or lists nested as deep as the array has further dimensions.

    >>> nested_lists(np.ones((1, 2, 2)), pa.list_(pa.list_(pa.float32()))).to_pylist()
    [[[1.0, 1.0], [1.0, 1.0]]]
    """
    kinds = [kind]
    while pa.types.is_list(kinds[-1]):
        kinds.append(kinds[-1].value_type)
    made = pa.array(np.ascontiguousarray(values).ravel()).cast(kinds[-1])
    for depth in range(values.ndim - 1, 0, -1):
        lists, width = int(np.prod(values.shape[:depth])), values.shape[depth]
        made = pa.ListArray.from_arrays(pa.array(np.arange(lists + 1, dtype=np.int32) * width), made)
    return made.cast(kind)


def odd_lists(column: pa.Array) -> npt.NDArray[np.bool_]:
    """Which values are null, NaN or infinite, or lists that hold such a value at any depth.

    >>> odd_lists(pa.array([[1.0], None, [2.0, None], [], [float("nan")]])).tolist()
    [False, True, True, False, True]
    """
    odd_N: npt.NDArray[np.bool_] = column.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_floating(column.type):
        values_N: npt.NDArray[np.floating] = column.to_numpy(zero_copy_only=False)
        odd_N = np.logical_or(odd_N, ~np.isfinite(values_N))
    elif pa.types.is_list(column.type):
        inner = odd_lists(column.flatten())
        if inner.any():
            lengths_N = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
            odd_N = odd_N | np.isin(np.arange(len(column)), np.repeat(np.arange(len(column)), lengths_N)[inner])
    return odd_N


def scatter(pieces: list[tuple[Rows, pa.Array]], rows: int, kind: pa.DataType) -> pa.Array:
    """One array of `rows` values from pieces with their row numbers; null in rows that no piece covers."""
    if not pieces:
        return pa.nulls(rows, kind)
    positions = np.concatenate([where for where, _ in pieces])
    joined = pa.concat_arrays([values.cast(kind) for _, values in pieces])
    return pc.scatter(joined, pa.array(positions), max_index=rows - 1)


def consecutive(rows: Rows) -> slice | None:
    """The rows as a slice if they are consecutive and in order, else `None`.

    >>> consecutive(np.array([4, 5, 6])), consecutive(np.array([0, 2, 1, 3]))
    (slice(4, 7, None), None)
    """
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 != len(rows) or not bool((rows[1:] > rows[:-1]).all()):
        return None
    return slice(first, last + 1)


def slices_or(rows: Rows) -> slice | Rows:
    """The rows as a slice if they follow one another: assigning to a slice is ten times as fast as to an index array."""
    return consecutive(rows) or rows

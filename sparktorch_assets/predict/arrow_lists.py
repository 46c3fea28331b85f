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

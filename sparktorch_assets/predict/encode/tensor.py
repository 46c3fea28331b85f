"""Encodes lists of one length, nested lists and Spark ML vectors as tensors of one shape, without a loop over rows.

Shapes: N rows of the window, M of them that are not null, S values per row.
"""

import math

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch

from sparktorch_assets.errors import InputSchemaError
from sparktorch_assets.predict.encode.columns import column_of, null_failures
from sparktorch_assets.predict.encode.encoded import DenseFeature, EncodedFeature
from sparktorch_assets.predict.encode.sequence import is_number
from sparktorch_assets.predict.failures import RowFailure, Rows
from sparktorch_assets.tasks.features import TensorFeature

_SPARSE, _DENSE = 0, 1
"""The values of `type` in the structs that Spark ML stores vectors as."""


class TensorEncoder:
    """Encodes a column of lists or vectors as a tensor with one entry per row."""

    def __init__(self, feature: TensorFeature) -> None:
        self.columns = feature.columns
        self._shape = tuple(feature.shape)
        self._size = math.prod(self._shape)
        self._dtype = np.dtype(feature.dtype)
        self._fill = feature.fill
        self._what = f"column {feature.column!r}"
        self.row_bytes = self._size * self._dtype.itemsize

    def encode(self, batch: pa.RecordBatch) -> EncodedFeature:
        """Copy the values of all rows into one tensor; a row with another number of values fails.

        Raises:
            InputSchemaError: the column holds neither lists of numbers, nested as deep as the shape or not at all, nor
                vectors.
            pyarrow.ArrowInvalid: the feature's dtype is int64 and a value is not a whole number.
            ValueError: the feature's dtype is bool and a value is neither 0 nor 1.
        """
        (name,) = self.columns
        column = column_of(batch, name)
        if pa.types.is_null(column.type):  # the inferred type of a column of dicts in which all values are missing
            column = column.cast(pa.list_(pa.null()))
        failures = null_failures(column, self._what) if self._fill is None else {}
        x_NS = np.zeros((len(column), self._size), dtype=self._dtype)
        valid_N = column.is_valid().to_numpy(zero_copy_only=False)
        if self._fill is not None:
            x_NS[~valid_N] = self._fill
        rows, present_M = np.flatnonzero(valid_N), column.drop_null() if column.null_count else column
        if _is_vector(column.type):
            self._vectors(present_M, rows, x_NS, failures)
        else:
            self._lists(present_M, rows, self._lengths(column.type), x_NS, failures)
        return DenseFeature((torch.from_numpy(x_NS.reshape(-1, *self._shape)),), failures)

    def _lengths(self, kind: pa.DataType) -> tuple[int, ...]:
        """The lengths that lists of this type must have, from the outermost to the innermost ones."""
        depth, inner = 0, kind
        while pa.types.is_list(inner) or pa.types.is_large_list(inner) or pa.types.is_fixed_size_list(inner):
            depth, inner = depth + 1, inner.value_type
        if depth not in (1, len(self._shape)) or not is_number(inner):
            nested = f", or lists nested {len(self._shape)} deep" if len(self._shape) > 1 else ""
            raise InputSchemaError(
                f"{self._what} has type {kind}; a tensor of shape {list(self._shape)} must be a list of "
                f"{self._size} numbers{nested}, or a Spark ML vector"
            )
        return self._shape if depth == len(self._shape) else (self._size,)

    def _lists(
        self,
        lists: pa.Array,
        rows: Rows,
        lengths: tuple[int, ...],
        x_NS: npt.NDArray[np.generic],
        failures: dict[int, RowFailure],
    ) -> None:
        """Write the values of these lists, one per row, into `x_NS`."""
        for length in lengths:
            if not len(rows):
                return
            found = pc.list_value_length(lists).fill_null(-1).to_numpy(zero_copy_only=False).reshape(len(rows), -1)
            fits = (found == length).all(axis=1)
            for row in np.flatnonzero(~fits):
                failures[int(rows[row])] = self._wrong_length(int(found[row][found[row] != length][0]), length)
            if not fits.all():
                lists, rows = lists.filter(pa.array(np.repeat(fits, found.shape[1]))), rows[fits]
            lists = lists.flatten()
        if lists.null_count:
            self._fail_nulls(lists, np.repeat(rows, self._size), failures)
        x_NS[rows] = self._numbers(lists).reshape(len(rows), self._size)

    def _vectors(
        self, vectors: pa.Array, rows: Rows, x_NS: npt.NDArray[np.generic], failures: dict[int, RowFailure]
    ) -> None:
        """Write the values of these Spark ML vectors, dense and sparse ones, into `x_NS`."""
        kinds = pc.struct_field(vectors, "type").to_numpy(zero_copy_only=False)
        is_dense = kinds == _DENSE
        self._lists(
            pc.struct_field(vectors, "values").filter(pa.array(is_dense)), rows[is_dense], (self._size,), x_NS, failures
        )
        self._sparse(vectors.filter(pa.array(~is_dense)), rows[~is_dense], x_NS, failures)

    def _sparse(
        self, vectors: pa.Array, rows: Rows, x_NS: npt.NDArray[np.generic], failures: dict[int, RowFailure]
    ) -> None:
        sizes = pc.struct_field(vectors, "size").fill_null(-1).to_numpy(zero_copy_only=False)
        lists = [pc.struct_field(vectors, part) for part in ("indices", "values")]
        counts, valued = (pc.list_value_length(one).fill_null(-1).to_numpy(zero_copy_only=False) for one in lists)
        fits = (sizes == self._size) & (counts == valued)
        for row in np.flatnonzero(~fits):
            failures[int(rows[row])] = self._wrong_length(int(sizes[row]), self._size)
        indices, values = (one.filter(pa.array(fits)).flatten() for one in lists)
        row_of_value = np.repeat(rows[fits], counts[fits])
        self._fail_nulls(values, row_of_value, failures)
        places = indices.fill_null(-1).to_numpy(zero_copy_only=False)
        inside = (places >= 0) & (places < self._size)
        for row in np.unique(row_of_value[~inside]):
            message = f"{self._what} has a sparse vector with an index outside its {self._size} values"
            failures[int(row)] = RowFailure("encode", "WrongIndex", message)
        x_NS[row_of_value[inside], places[inside]] = self._numbers(values)[inside]

    def _fail_nulls(self, values: pa.Array, row_of_value: Rows, failures: dict[int, RowFailure]) -> None:
        if self._fill is not None or not values.null_count:
            return
        message = f"{self._what} has a null among its values and its feature declares no fill"
        for row in np.unique(row_of_value[values.is_null().to_numpy(zero_copy_only=False)]):
            failures[int(row)] = RowFailure("encode", "Null", message)

    def _numbers(self, values: pa.Array) -> npt.NDArray[np.generic]:
        """The values in the feature's dtype; a null is the fill, or 0 in a row that has failed."""
        if values.null_count:
            values = values.cast(pa.float64()) if pa.types.is_null(values.type) else values
            values = values.fill_null(pa.scalar(self._fill or 0.0).cast(values.type, safe=False))
        if self._dtype != np.bool_:
            kind = pa.from_numpy_dtype(self._dtype)
            return np.asarray(values.cast(kind, safe=kind == pa.int64()).to_numpy(zero_copy_only=False))
        numbers = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        if not np.isin(numbers, (0, 1)).all():
            raise ValueError(f"{self._what} has a value that is neither 0 nor 1, and its feature's dtype is bool")
        return np.asarray(numbers.astype(np.bool_))

    def _wrong_length(self, found: int, wanted: int) -> RowFailure:
        has = "a null in place of a list" if found < 0 else f"{found} values"
        return RowFailure(
            "encode", "WrongLength", f"{self._what} has {has}; its shape {list(self._shape)} needs {wanted}"
        )


def _is_vector(kind: pa.DataType) -> bool:
    """Whether it is the struct that Spark ML stores vectors as."""
    return bool(pa.types.is_struct(kind)) and {field.name for field in kind} == {"type", "size", "indices", "values"}

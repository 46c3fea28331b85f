"""Encodes lists of numbers, of any length, directly from Arrow's buffers."""

import numpy as np
import pyarrow as pa

from sparktorch_assets.errors import InputSchemaError
from sparktorch_assets.predict.encode.columns import column_of, null_failures
from sparktorch_assets.predict.encode.encoded import EncodedFeature, RaggedFeature
from sparktorch_assets.predict.failures import RowFailure
from sparktorch_assets.tasks.features import SequenceFeature


class SequenceEncoder:
    """Encodes a list column as values and lengths; 0 is the padding value."""

    def __init__(self, feature: SequenceFeature) -> None:
        self.columns = feature.columns
        self.row_bytes = None
        self._max_length = feature.max_length
        self._fill = feature.fill
        self._kind = pa.int64() if feature.dtype == "int64" else pa.float32()

    def encode(self, batch: pa.RecordBatch) -> EncodedFeature:
        """Concatenate the values of all rows, with their offsets."""
        (name,) = self.columns
        return ragged(column_of(batch, name), f"column {name!r}", self._kind, self._fill, self._max_length)


def ragged(
    lists_N: pa.Array,
    what: str,
    kind: pa.DataType | None = None,
    fill: float | None = None,
    max_length: int | None = None,
) -> RaggedFeature:
    """Encode lists of numbers as values of `kind`; by default, int64 for integers and booleans and float32 for other
    numbers.
    A null fails its row unless there is a fill.

    Raises:
        InputSchemaError: `lists_N`, called `what` in the message, does not hold lists of numbers.
        pyarrow.ArrowInvalid: `kind` is int64 and a value is not a whole number.
    """
    if pa.types.is_fixed_size_list(lists_N.type):
        lists_N = lists_N.cast(pa.list_(lists_N.type.value_type))
    if pa.types.is_null(lists_N.type):
        lists_N = lists_N.cast(pa.list_(pa.null()))
    is_list = pa.types.is_list(lists_N.type) or pa.types.is_large_list(lists_N.type)
    if not is_list or not is_number(lists_N.type.value_type):
        raise InputSchemaError(f"{what} has type {lists_N.type}; a sequence must be a list of numbers")
    failures = null_failures(lists_N, what) if fill is None else {}
    offsets_N1 = lists_N.offsets.to_numpy().astype(np.int64)
    first, last = (int(offsets_N1[0]), int(offsets_N1[-1])) if len(lists_N) else (0, 0)
    values = lists_N.values.slice(first, last - first)
    offsets_N1 = offsets_N1 - first
    lengths_N = np.diff(offsets_N1)
    if lists_N.null_count:  # a null list may span values in the buffer
        lengths_N[lists_N.is_null().to_numpy(zero_copy_only=False)] = 0
    truncated_N = None
    if max_length is not None:
        truncated_N = lengths_N > max_length
        lengths_N = np.minimum(lengths_N, max_length)
    if values.null_count and fill is None:
        nulls_before = np.concatenate(([0], np.cumsum(values.is_null().to_numpy(zero_copy_only=False))))
        ends_N = offsets_N1[:-1] + lengths_N
        for row in np.flatnonzero(nulls_before[ends_N] > nulls_before[offsets_N1[:-1]]):
            message = f"{what} has a null among its values and its feature declares no fill"
            failures[int(row)] = RowFailure("encode", "Null", message)
    if kind is None:
        whole = not pa.types.is_floating(values.type) and not pa.types.is_decimal(values.type)
        kind = pa.int64() if whole else pa.float32()
    values = values.cast(kind, safe=kind == pa.int64())
    if values.null_count:
        values = values.fill_null(pa.scalar(fill or 0.0).cast(kind, safe=False))
    return RaggedFeature(values.to_numpy(zero_copy_only=False), offsets_N1, lengths_N, failures, truncated_N)


def is_number(kind: pa.DataType) -> bool:
    """Whether values of this type can be elements of a sequence or a tensor."""
    tests = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_decimal,
        pa.types.is_null,  # the inferred type of lists from dicts if all are empty
    )
    return any(test(kind) for test in tests)

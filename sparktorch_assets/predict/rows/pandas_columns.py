"""Converts Arrow columns to pandas and back, so that values that a batch hook does not change survive the round trip.

pandas changes types on the way: a missing value, a `where` or an `apply` turns an integer column into floats, which
represent integers exactly only up to 2^53, and a float column does not distinguish a null from NaN.
"""

from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from sparktorch_assets.predict.failures import RowFailure
from sparktorch_assets.predict.rows.convert import MISFIT, column_of_values, settle_column

_NULLABLE = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}


def to_pandas(column: pa.Array) -> Any:
    """The column in the usual pandas type: a nullable type for integers and booleans with nulls, and an Arrow-backed
    type if NumPy cannot hold the values exactly."""
    # NumPy holds neither lists with nulls nor times of day in nanoseconds exactly.
    if pa.types.is_nested(column.type) or column.type == pa.time64("ns"):
        return column.to_pandas(types_mapper=pd.ArrowDtype)
    try:
        return column.to_pandas(types_mapper=_NULLABLE.get if column.null_count else None)
    except (pa.ArrowException, ValueError, OverflowError):  # dates after the year 9999, which Python cannot represent
        return column.to_pandas(types_mapper=pd.ArrowDtype)


def from_pandas(
    name: str, series: Any, kind: pa.DataType | None, old: pa.Array | None, stage: str
) -> tuple[pa.Array, dict[int, RowFailure]]:
    """A column that a hook returned, and a failure for each value that does not fit; the column is null there.

    Args:
        name: the column's name, for messages.
        series: the column that the hook returned.
        kind: the type that the column must have. If `None`, it keeps the old type if every value fits that, else it
            gets the type that was found.
        old: the column before the hook, row by row; `None` if it did not exist. A value that is unchanged, when
            converted to the type of `series`, is taken from `old`.
        stage: the name of the hook.
    """
    like = None if old is None else old.type
    try:
        found = pa.Array.from_pandas(series)
    except MISFIT:
        values = [None if pd.api.types.is_scalar(value) and pd.isna(value) else value for value in series.tolist()]
        return column_of_values(name, values, stage, kind=kind, like=like)
    if isinstance(found, pa.ChunkedArray):
        found = found.combine_chunks()
    if old is not None and _counts(old.type) and pa.types.is_floating(found.type):
        return _restore_counts(found, old, kind, name, stage)
    array, misfits = settle_column(found, kind, like, name, stage)
    if old is not None and pa.types.is_floating(old.type) and pa.types.is_floating(array.type):
        array = _restore_nan(array, old)
    return array, misfits


def _counts(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_decimal(kind))


def _restore_counts(
    found: pa.Array, old: pa.Array, kind: pa.DataType | None, name: str, stage: str
) -> tuple[pa.Array, dict[int, RowFailure]]:
    """Restore integers and decimals that were converted to floats: the old value stays if its float is unchanged."""
    same = pc.equal(_as_floats(old).cast(found.type, safe=False), found).fill_null(fill_value=False)
    changed, misfits = settle_column(pc.if_else(same, pa.scalar(None, found.type), found), kind, old.type, name, stage)
    if changed.type == found.type and kind is None:  # fractions: only floats can hold all values
        return found, {}
    kept, unfit = settle_column(old, changed.type, None, name, stage)
    return pc.if_else(same, kept, changed), misfits | {row: unfit[row] for row in unfit if same[row].as_py()}


def _as_floats(counts: pa.Array) -> pa.Array:
    if pa.types.is_decimal(counts.type):  # unlike Python and pandas, Arrow's cast does not give the nearest float
        return pa.array([None if value is None else float(value) for value in counts.to_pylist()], pa.float64())
    return counts.cast(pa.float64(), safe=False)


def _restore_nan(array: pa.Array, old: pa.Array) -> pa.Array:
    """`array` with NaN instead of null where `old` had NaN and the hook left the value missing."""
    was_nan = pc.is_nan(old)
    if not pc.any(was_nan).as_py():
        return array
    still = pc.and_(was_nan.fill_null(fill_value=False), array.is_null())
    return pc.if_else(still, pa.scalar(float("nan"), array.type), array)

"""A task's `where` on record batches."""

import functools
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from sparktorch_assets.errors import InputSchemaError
from sparktorch_assets.tasks.row_filter import RowFilter

_COMPARE = {
    "==": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


def filter_rows(batch: pa.RecordBatch, tests: Sequence[RowFilter]) -> pa.RecordBatch:
    """The rows for which every test holds; a null makes a test not hold."""
    if not tests:
        return batch
    keep = functools.reduce(pc.and_, (_holds(batch.column(test.column), test) for test in tests))
    return batch.filter(keep.fill_null(fill_value=False))


def _holds(column: pa.Array, test: RowFilter) -> pa.Array:
    try:
        if test.op in ("in", "not in"):
            inside = pc.is_in(column, value_set=pa.array(test.value, column.type))
            return inside if test.op == "in" else pc.and_(pc.invert(inside), column.is_valid())
        return _COMPARE[test.op](column, pa.scalar(test.value, column.type))
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
        raise InputSchemaError(
            f"where: {test.column!r} has type {column.type}, which cannot be compared with {test.value!r} ({error})"
        ) from error

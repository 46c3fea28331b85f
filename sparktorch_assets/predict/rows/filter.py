"""Applies a task's `where` conditions to record batches."""

import functools
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from sparktorch_assets.tasks.row_filter import RowFilter
from sparktorch_assets.tasks.row_test import RowTest, row_tests

_ORDERS = {"<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal}


class BatchFilter:
    """Conditions on the rows of a stream, prepared for its column types when the first record batch arrives."""

    def __init__(self, where: Sequence[RowFilter], place: str) -> None:
        """`place` is the beginning of error messages. Conditions are first checked against the first record batch."""
        self._where, self._place = tuple(where), place
        self._columns = tuple(dict.fromkeys(condition.column for condition in where))
        self._types: list[pa.DataType] | None = None
        self._tests: list[tuple[str, Callable[[pa.Array], pa.Array]]] = []

    def rows(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows for which every condition holds; no condition holds for a null.

        Raises:
            InputSchemaError: a column is missing, or cannot be compared with its value.
        """
        if not self._where:
            return batch
        schema = batch.schema
        types = [schema.field(name).type for name in self._columns if name in schema.names]
        if types != self._types:
            found = row_tests(self._where, {field.name: str(field.type) for field in schema}, self._place)
            self._tests = [(test.column, _ready(test, schema.field(test.column).type)) for test in found]
            self._types = types
        holds = (test(batch.column(name)) for name, test in self._tests)
        return batch.filter(functools.reduce(pc.and_, holds).fill_null(fill_value=False))


def _ready(test: RowTest, kind: pa.DataType) -> Callable[[pa.Array], pa.Array]:
    """The test as a function of a column of type `kind`; the result may be null where the column is null."""
    if not test.values:
        return pc.is_valid if test.op == "not in" else lambda column: pa.repeat(pa.scalar(False), len(column))
    comparable = _comparable(pa.array([], kind)).type
    if test.op in _ORDERS or len(test.values) == 1:
        compare = {"in": pc.equal, "not in": pc.not_equal, **_ORDERS}[test.op]
        literal = pa.scalar(test.values[0], comparable)
        return lambda column: compare(_comparable(column), literal)
    # Set lookup distinguishes 0.0 from -0.0, unlike comparison.
    values = [*test.values, -0.0] if test.kind in ("float", "double") and 0.0 in test.values else test.values
    options = pc.SetLookupOptions(pa.array(values, comparable))
    if test.op == "in":
        return lambda column: pc.is_in(_comparable(column), options=options)
    return lambda column: pc.and_(pc.invert(pc.is_in(_comparable(column), options=options)), column.is_valid())


def _comparable(column: pa.Array) -> pa.Array:  # noqa: PLR0911  (one answer per type)
    """The column in the representation of its `RowTest`'s values, and in a type that all comparison kernels support."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _comparable(column.dictionary_decode())
    if pa.types.is_timestamp(kind):
        if kind.unit == "ns":  # truncated, as in a table's columns
            column = column.cast(pa.timestamp("us", kind.tz), safe=False)
        return column.cast(pa.int64())
    if pa.types.is_date(kind):
        return column.cast(pa.date32(), safe=False).cast(pa.int32())
    if pa.types.is_floating(kind):
        return column.cast(pa.float64())
    if pa.types.is_boolean(kind):
        return column.cast(pa.uint8())
    if pa.types.is_decimal(kind) and kind.bit_width < 128:
        return column.cast(pa.decimal128(kind.precision, kind.scale))
    if kind == pa.string_view():
        return column.cast(pa.large_string())
    if kind == pa.binary_view() or pa.types.is_fixed_size_binary(kind):
        return column.cast(pa.large_binary())
    return column

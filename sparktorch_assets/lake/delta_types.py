"""Which Arrow types a Delta table can hold, and how to bring record batches to them.

delta-rs maps some types in ways that lose values (uint8 becomes int8), so the mapping is made here, once, before
anything is planned: the schema of a table never depends on which writer touched it.
"""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from sparktorch_assets.errors import InputSchemaError

_WIDER = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
    pa.date64(): pa.date32(),
    pa.large_string(): pa.string(),
    pa.string_view(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.binary_view(): pa.binary(),
    pa.null(): pa.string(),
}


def storage_schema(schema: pa.Schema) -> pa.Schema:
    """`schema` in the types that Delta tables have; every column may hold nulls.

    Raises:
        InputSchemaError: a column's type has no counterpart in Delta (times of day, durations, unions ...).
    """
    return pa.schema([pa.field(column.name, _stored(column.type, column.name)) for column in schema])


def _stored(kind: pa.DataType, column: str) -> pa.DataType:  # noqa: PLR0911  (one answer a type)
    if kind in _WIDER:
        return _WIDER[kind]
    if pa.types.is_dictionary(kind):
        return _stored(kind.value_type, column)
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(pa.field("element", _stored(kind.value_type, column)))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(part.name, _stored(part.type, f"{column}.{part.name}")) for part in kind])
    if pa.types.is_map(kind):
        return pa.map_(_stored(kind.key_type, column), _stored(kind.item_type, column))
    if pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    if pa.types.is_decimal(kind):
        if kind.precision <= 38:
            return pa.decimal128(kind.precision, kind.scale)
    elif any(
        test(kind) for test in (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_string)
    ) or kind in (pa.binary(), pa.date32()):
        return kind
    raise InputSchemaError(
        f"column {column!r} has type {kind}, which Delta tables cannot hold; leave it out of keep_columns, or cast it "
        f"to a number, string, binary, date or timestamp in the input"
    )


def conform(batch: pa.RecordBatch, schema: pa.Schema, partition: Mapping[str, str] | None = None) -> pa.RecordBatch:
    """The batch with exactly `schema`'s columns: cast where a file's type differs, null where a file lacks the column.

    Args:
        batch: what a file gave.
        schema: the columns that are wanted.
        partition: values of columns that stand in the file's path and not in the file.
    """
    if batch.schema.equals(schema):
        return batch
    arrays = []
    for column in schema:
        if column.name in batch.schema.names:
            array = batch.column(column.name)
        elif partition and column.name in partition:
            array = pa.repeat(pa.scalar(partition[column.name]), batch.num_rows)
        else:
            array = pa.nulls(batch.num_rows, column.type)
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        # Delta keeps microseconds: a timestamp's nanoseconds are cut, everything else must fit.
        cuts = pa.types.is_timestamp(array.type) or pa.types.is_date64(array.type)
        arrays.append(array if array.type == column.type else pc.cast(array, column.type, safe=not cuts))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)

"""Maps Arrow types to those that a Delta table can hold, and casts columns to them.

delta-rs maps some types in ways that lose values (uint8 becomes int8), so the mapping is done here, once, before
anything is planned: the schema of a table never depends on which writer wrote it.
"""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from sparktorch_assets.errors import InputSchemaError
from sparktorch_assets.tasks.column_names import clash, describe

_TEXT, _NULL = pa.string(), pa.null()
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
}


def storage_schema(schema: pa.Schema) -> pa.Schema:
    """`schema` in Delta's types; every column is nullable.

    Raises:
        InputSchemaError: a column's type has no counterpart in Delta (times of day, durations, unions ...), or a name
            occurs twice.
    """
    check_names(schema.names)
    return pa.schema([pa.field(column.name, _stored(column.type, column.name)) for column in schema])


def readable_schema(schema: pa.Schema) -> pa.Schema:
    """`schema` in Delta's types; columns whose types have no counterpart in Delta are unchanged, since a column that is
    not kept may have any type.

    Raises:
        InputSchemaError: a name occurs twice.
    """
    check_names(schema.names)
    return pa.schema([comparable(column, nulls=_TEXT) for column in schema])


def comparable(column: pa.Field, nulls: pa.DataType = _NULL) -> pa.Field:
    """The column in Delta's type, or unchanged if Delta has none. `nulls` is the type for columns of Arrow's null type,
    which by default keep it."""
    try:
        return pa.field(column.name, _stored(column.type, column.name, nulls))
    except InputSchemaError:
        return column


def _stored(kind: pa.DataType, column: str, nulls: pa.DataType = _TEXT) -> pa.DataType:  # noqa: PLR0911  (one per type)
    if pa.types.is_null(kind):
        return nulls
    if kind in _WIDER:
        return _WIDER[kind]
    if pa.types.is_dictionary(kind):
        return _stored(kind.value_type, column, nulls)
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    if _is_list(kind):
        return pa.list_(pa.field("element", _stored(kind.value_type, column, nulls)))
    if pa.types.is_struct(kind):
        check_names((part.name for part in kind), f" of the struct {column!r}")
        return pa.struct([pa.field(part.name, _stored(part.type, f"{column}.{part.name}", nulls)) for part in kind])
    if pa.types.is_map(kind):
        return pa.map_(_stored(kind.key_type, column, nulls), _stored(kind.item_type, column, nulls))
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


def check_names(names: Iterable[str], where: str = "") -> None:
    """Raise `InputSchemaError` if names are equal or differ only in case: Delta tables cannot hold such columns, and
    Spark confuses them.

    Args:
        names: the names of a table's columns, or of a struct's fields.
        where: what the names belong to, for the message.
    """
    names = tuple(names)
    cut = next((name for name in names if "\0" in name), None)
    if cut is not None:
        raise InputSchemaError(
            f"there is a column {cut!r}{where}; a NUL character ends a name early. Rename it in the input"
        )
    pair = clash(names)
    if pair is not None:
        raise InputSchemaError(
            f"there are columns {describe(pair)}{where}. Delta tables and Spark cannot tell them apart; rename one in the input"
        )


def holds_all(table: pa.DataType, stored: pa.DataType) -> bool:  # noqa: PLR0911  (one answer per kind)
    """Whether `cast_column` can convert a file's column of type `stored` to the table's type: every value is unchanged,
    or an error is raised if it does not fit."""
    if table == stored or pa.types.is_null(stored):
        return True
    if pa.types.is_dictionary(stored):
        return holds_all(table, stored.value_type)
    if pa.types.is_struct(table) and pa.types.is_struct(stored):
        fields = {field.name: field.type for field in stored}
        lowered = [name.lower() for name in fields]
        shared = [field for field in table if field.name in fields]
        missing = [field for field in table if field.name not in fields]
        return (
            bool(shared)
            and len(fields) == stored.num_fields
            and not any(field.name.lower() in lowered for field in missing)
            and all(holds_all(field.type, fields[field.name]) for field in shared)
        )
    if pa.types.is_map(table) and pa.types.is_map(stored):
        return holds_all(table.key_type, stored.key_type) and holds_all(table.item_type, stored.item_type)
    if _is_list(table) and _is_list(stored):
        return holds_all(table.value_type, stored.value_type)
    if pa.types.is_timestamp(table) and pa.types.is_timestamp(stored):
        return (table.tz is None) == (stored.tz is None)  # instants and local times do not mix
    if pa.types.is_floating(table) and pa.types.is_floating(stored):
        return bool(table.bit_width >= stored.bit_width)
    if pa.types.is_integer(stored):
        return any(test(table) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal))
    return any(test(table) and test(stored) for test in (pa.types.is_decimal, pa.types.is_date, _is_bytes))


def _is_list(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


def _is_bytes(kind: pa.DataType) -> bool:
    return any(
        test(kind)
        for test in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_string_view,
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_binary_view,
            pa.types.is_fixed_size_binary,
        )
    )


def cast_column(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The column in the table's type `kind`, for which `holds_all` must be true. Timestamps are truncated to the
    table's microseconds; all other values must fit. Fields of structs are found by name.

    Raises:
        ArrowInvalid: a value does not fit.
    """
    if array.type == kind:
        return array
    return pc.cast(array, options=pc.CastOptions(target_type=kind, allow_time_truncate=True))

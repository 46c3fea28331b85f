"""Converts rows between dicts and record batches; a bad value costs only its row.

A value is never changed to fit a column: neither 7.5 nor "7" is accepted as an `int`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sparktorch_assets.errors import InputSchemaError, nearest
from sparktorch_assets.predict.failures import RowFailure
from sparktorch_assets.predict.rows.python_values import array_of
from sparktorch_assets.predict.rows.required_parts import check_required

MISFIT = (pa.ArrowException, TypeError, ValueError, OverflowError)
"""The exceptions that Arrow raises for a value that a type cannot hold."""


def rows_to_batch(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pa.RecordBatch:
    """`columns` of the rows as a record batch, with inferred types.

    Raises:
        InputSchemaError: a column is missing from all rows, or its values have no common type.
    """
    arrays = []
    for name in columns:
        if rows and not any(name in row for row in rows):
            raise InputSchemaError(f"the rows have no column {name!r}; {nearest(name, map(str, rows[0]))}")
        try:
            arrays.append(array_of([row.get(name) for row in rows]))
        except MISFIT as error:
            raise InputSchemaError(f"column {name!r} of the rows holds values of several types ({error})") from error
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def typed_batch(
    rows: Sequence[Mapping[str, Any] | None], schema: pa.Schema, stage: str
) -> tuple[pa.RecordBatch, dict[int, RowFailure]]:
    """Rows as a record batch with exactly the schema's columns and types.

    A value that does not fit its type makes its row fail. `None` stands for a row that has failed already, and becomes
    a row of nulls.
    """
    failures: dict[int, RowFailure] = {}
    arrays = []
    for field in schema:
        values = [None if row is None else row.get(field.name) for row in rows]
        array, misfits = column_of_values(field.name, values, stage, kind=field.type)
        failures = misfits | failures
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, names=schema.names), failures


def column_of_values(
    name: str, values: list[Any], stage: str, *, kind: pa.DataType | None = None, like: pa.DataType | None = None
) -> tuple[pa.Array, dict[int, RowFailure]]:
    """Python values as one column, and a failure for each value that does not fit; the column is null there.

    Args:
        name: the column's name, for messages.
        values: one value per row.
        stage: the stage that produced the values.
        kind: the type that the column must have. If `None`, it gets the type `like` if every value fits that, else the
            type that Arrow infers.
        like: the type that the column had before.
    """
    wanted = kind or like
    try:
        found = _from_values(values, wanted)
    except MISFIT:
        return _one_by_one(name, values, wanted or _most_common_type(values), stage)
    return settle_column(found, kind, like, name, stage)


def settle_column(
    found: pa.Array, kind: pa.DataType | None, like: pa.DataType | None, name: str, stage: str
) -> tuple[pa.Array, dict[int, RowFailure]]:
    """The column converted to the type `kind`, with a failure for each value that does not fit. If `kind` is `None`,
    the column converted to the type `like` if every value fits that, else unchanged."""
    if kind is not None:
        return conform_rows(found, kind, name, stage)
    try:
        return (found if like is None else conform(found, like)), {}
    except MISFIT:
        return found, {}


def conform_rows(column: pa.Array, kind: pa.DataType, name: str, stage: str) -> tuple[pa.Array, dict[int, RowFailure]]:
    """The column in another type, and a failure for each value that does not fit; the column is null there."""
    try:
        return conform(column, kind), {}
    except MISFIT:
        pieces: list[pa.Array] = []
        failures: dict[int, RowFailure] = {}
        for row in range(len(column)):
            value = column.slice(row, 1)
            try:
                pieces.append(conform(value, kind))
            except MISFIT as error:
                failures[row] = _misfit(name, str(column.type), kind, stage, error)
                pieces.append(pa.nulls(1, kind))
        return pa.concat_arrays(pieces), failures


def conform(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """The column in another type, if that changes no value: numbers stay numbers, and none is truncated.

    Raises:
        pyarrow.ArrowException: a value does not fit.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.type == kind:  # a cast to the same type raises for a null struct whose fields are not nullable
        check_required(column)
        return column
    if column.null_count == len(column):
        return pa.nulls(len(column), kind)
    if not _same_family(column.type, kind):
        raise pa.ArrowTypeError(f"{column.type} is not {kind}")
    found = column.cast(kind)
    if pa.types.is_date(kind) and not found.cast(column.type).equals(column):
        raise pa.ArrowInvalid(f"a time of day does not fit {kind}")
    if pa.types.is_floating(kind) and pa.types.is_floating(column.type) and kind.bit_width < column.type.bit_width:
        overflows = pc.and_(pc.is_inf(found), pc.invert(pc.is_inf(column)))
        if pc.any(overflows).as_py():
            raise pa.ArrowInvalid(f"a number is too large for {kind}")
    check_required(found)
    return found


def own_memory(column: pa.Array) -> pa.Array:
    """A copy of the column, because user code may return a buffer that it will reuse."""
    return pa.concat_arrays([column, column.slice(len(column))])  # it does not copy a single array


def settle_types(
    batch: pa.RecordBatch, known: Mapping[str, pa.DataType], stage: str
) -> tuple[pa.RecordBatch, dict[int, RowFailure]]:
    """The batch with columns that can be concatenated with columns of `known` types; other values make
    their rows fail."""
    if all(_joins(field.type, known.get(field.name)) for field in batch.schema):
        return batch, {}
    failures: dict[int, RowFailure] = {}
    arrays = []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        array = column
        if not _joins(field.type, known.get(field.name)):
            array, misfits = conform_rows(column, known[field.name], field.name, stage)
            failures = misfits | failures
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names), failures


def _joins(kind: pa.DataType, known: pa.DataType | None) -> bool:
    if known is None or kind == known:
        return True
    try:
        pa.unify_schemas([pa.schema([("c", kind)]), pa.schema([("c", known)])], promote_options="permissive")
    except pa.ArrowException:
        return False
    return True


def _from_values(values: list[Any], kind: pa.DataType | None) -> pa.Array:
    """The values as an array of an inferred type, which `conform` then compares with `kind`: with an explicit `int32`,
    Arrow would turn 7.5 into 7. Types with structs and maps are passed to Arrow, which cannot infer maps or structs
    that lack fields."""
    return array_of(values, kind if kind is not None and _has_fields(kind) else None)


def _has_fields(kind: pa.DataType) -> bool:
    """Whether the type contains a struct or a map."""
    return bool(pa.types.is_struct(kind) or pa.types.is_map(kind) or (_is_list(kind) and _has_fields(kind.value_type)))


def _one_by_one(name: str, values: list[Any], kind: pa.DataType, stage: str) -> tuple[pa.Array, dict[int, RowFailure]]:
    pieces: list[pa.Array] = []
    failures: dict[int, RowFailure] = {}
    for row, value in enumerate(values):
        try:
            pieces.append(conform(_from_values([value], kind), kind))
        except MISFIT as error:
            failures[row] = _misfit(name, type(value).__name__, kind, stage, error)
            pieces.append(pa.nulls(1, kind))
    return pa.concat_arrays(pieces), failures


def _most_common_type(values: list[Any]) -> pa.DataType:
    """The type that Arrow infers for most of the values if each is converted on its own."""
    kinds: Counter[pa.DataType] = Counter()
    for value in values:
        try:
            kinds[pa.array([value]).type] += value is not None
        except MISFIT:
            continue
    return kinds.most_common(1)[0][0] if kinds else pa.null()


def _misfit(name: str, found: str, kind: pa.DataType, stage: str, error: Exception) -> RowFailure:
    article = "an" if found[:1] in "aeiou" else "a"
    # Arrow prints the types of maps without telling which of their parts are required.
    what = str(error) if found == str(kind) else f"{article} {found} does not fit {kind}"
    return RowFailure(stage, type(error).__name__, f"column {name!r}: {what}")


def _same_family(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a column of type `wanted` can hold values of type `found`, as long as they are in its range."""
    if _is_list(found) and _is_list(wanted):
        return pa.types.is_null(found.value_type) or _same_family(found.value_type, wanted.value_type)
    if pa.types.is_struct(found) and pa.types.is_struct(wanted):
        return [field.name for field in found] == [field.name for field in wanted] and all(
            pa.types.is_null(a.type) or _same_family(a.type, b.type) for a, b in zip(found, wanted, strict=True)
        )
    if pa.types.is_map(found) and pa.types.is_map(wanted):
        return _same_family(found.key_type, wanted.key_type) and _same_family(found.item_type, wanted.item_type)
    return found == wanted or any(
        any(test(wanted) for test in wanteds) and any(test(found) for test in founds) for wanteds, founds in _FAMILIES
    )


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BYTES = (
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
)
_NUMBERS = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
_FAMILIES = (
    ((pa.types.is_integer, pa.types.is_floating), _NUMBERS),
    ((pa.types.is_decimal,), (pa.types.is_integer, pa.types.is_decimal)),
    (_TEXTS, (*_TEXTS, *_BYTES)),
    (_BYTES, (*_TEXTS, *_BYTES)),
    ((pa.types.is_date, pa.types.is_timestamp), (pa.types.is_date, pa.types.is_timestamp)),
    ((pa.types.is_time,), (pa.types.is_time,)),
    ((pa.types.is_duration,), (pa.types.is_duration,)),
)
"""Pairs of column types and the types whose values such a column may hold."""

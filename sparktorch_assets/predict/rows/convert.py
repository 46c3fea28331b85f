"""Rows as dicts and rows as record batches, both ways, with one bad value costing one row.

A value is never changed to fit a column: 7.5 is no `int`, and neither is "7".
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
"""What Arrow raises for a value that a type cannot hold."""


def rows_to_batch(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pa.RecordBatch:
    """`columns` of the rows as a record batch, with inferred types.

    Raises:
        InputSchemaError: no row has one of the columns, or its values have no common type.
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
    """Rows as a record batch of the given types, and only of the schema's columns.

    A value that does not fit its type makes its row fail; `None` stands for a row that failed before, all nulls.
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
        name: the column, for messages.
        values: one value per row.
        stage: where the values come from.
        kind: the type that the column must have. `None`: `like` where every value fits it, else what Arrow infers.
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
    """The column in the type `kind`, where it must have one, with a failure for each value that does not fit; else in the
    type `like` where every value fits it, and as it is where one does not."""
    if kind is not None:
        return conform_rows(found, kind, name, stage)
    try:
        return (found if like is None else conform(found, like)), {}
    except MISFIT:
        return found, {}


def conform_rows(column: pa.Array, kind: pa.DataType, name: str, stage: str) -> tuple[pa.Array, dict[int, RowFailure]]:
    """The column in another type, and a failure for each value that does not fit it; the column is null there."""
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
    """The column in another type, where that changes no value: numbers stay numbers, and none is cut.

    Raises:
        pyarrow.ArrowException: a value does not fit.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.type == kind:  # a cast to the very same type raises for a null struct whose fields may not be null
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
    """The same values in memory of their own: what user code gives may lie in a buffer that it fills again."""
    return pa.concat_arrays([column, column.slice(len(column))])  # of a single array, it makes no copy


def settle_types(
    batch: pa.RecordBatch, known: Mapping[str, pa.DataType], stage: str
) -> tuple[pa.RecordBatch, dict[int, RowFailure]]:
    """The batch with columns that can be joined with those of `known` types; a value that cannot fails its row."""
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
    """Of an inferred type, which `conform` compares with `kind`: asked for an `int32`, Arrow makes a 7 of 7.5. It cannot
    infer maps, structs that lack fields, nor lists of them."""
    return array_of(values, kind if kind is not None and _has_fields(kind) else None)


def _has_fields(kind: pa.DataType) -> bool:
    """Whether there is a struct or a map in the type."""
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
    """The type that most of the values have alone."""
    kinds: Counter[pa.DataType] = Counter()
    for value in values:
        try:
            kinds[pa.array([value]).type] += value is not None
        except MISFIT:
            continue
    return kinds.most_common(1)[0][0] if kinds else pa.null()


def _misfit(name: str, found: str, kind: pa.DataType, stage: str, error: Exception) -> RowFailure:
    article = "an" if found[:1] in "aeiou" else "a"
    # The types of maps do not show which of their parts are required.
    what = str(error) if found == str(kind) else f"{article} {found} does not fit {kind}"
    return RowFailure(stage, type(error).__name__, f"column {name!r}: {what}")


def _same_family(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether values of one type can stand in a column of the other, if they are in its range."""
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
"""Types that are wanted, and the types whose values may stand there."""

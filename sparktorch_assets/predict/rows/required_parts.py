"""Checks parts of nested types that are not nullable: `n` of `struct<n: int32 not null>`, while the struct itself may
be null.

Arrow silently accepts a null there, and Spark then reads another value.
"""

import pyarrow as pa


def check_required(column: pa.Array) -> None:
    """Raise `ArrowInvalid` if a part that is not nullable is null inside a value that is not."""
    if pa.types.is_nested(column.type) and _requires(column.type):
        _check(column)


def _requires(kind: pa.DataType) -> bool:
    return any(not part.nullable or _requires(part.type) for part in _parts(kind))


def _parts(kind: pa.DataType) -> list[pa.Field]:
    if pa.types.is_struct(kind):
        return list(kind)
    if pa.types.is_map(kind):
        return [kind.item_field]  # Arrow itself rejects null keys
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return [kind.value_field] if is_list else []


def _check(column: pa.Array) -> None:
    for part, values in zip(_parts(column.type), _values(column), strict=True):
        if values.null_count and not part.nullable:
            raise pa.ArrowInvalid(f"{part.name!r} of {column.type} is null, which it must not be")
        _check(values)


def _values(column: pa.Array) -> list[pa.Array]:
    """The values of each part, without those under a null, which are undefined."""
    if pa.types.is_struct(column.type):
        return list((column.drop_null() if column.null_count else column).flatten())
    if pa.types.is_map(column.type):
        there = column.drop_null() if column.null_count else column
        first, end = (there.offsets[0].as_py(), there.offsets[-1].as_py()) if len(there) else (0, 0)
        return [there.items.slice(first, end - first)]
    return [column.flatten()] if _parts(column.type) else []

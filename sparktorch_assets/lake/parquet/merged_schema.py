"""One schema for files whose columns differ."""

from collections.abc import Mapping

import pyarrow as pa

from sparktorch_assets.errors import InputSchemaError
from sparktorch_assets.lake.parquet.types import check_names, comparable, holds_all


def merged_schema(schemas: Mapping[str, pa.Schema]) -> pa.Schema:
    """One schema for files that may lack some of each other's columns, or have narrower types for some.

    Args:
        schemas: path -> the file's columns.

    Raises:
        InputSchemaError: no single type holds all values of a column in all files, or a file's names are not distinct.
    """
    distinct: dict[pa.Schema, str] = {}
    last: pa.Schema | None = None
    for path, schema in schemas.items():
        if last is None or not schema.equals(last):  # comparing two is far cheaper than hashing one
            distinct.setdefault(schema.remove_metadata(), path)
            last = schema
    for schema in distinct:
        check_names(schema.names)
    if len(distinct) == 1:
        return next(iter(distinct))
    columns: dict[str, pa.Field] = {}
    first: dict[str, str] = {}
    for schema, path in distinct.items():
        for field in map(comparable, schema):
            first.setdefault(field.name, path)
            columns[field.name] = _merged(columns.get(field.name, field), field, first[field.name], path)
    return pa.schema(list(columns.values()))


def _merged(known: pa.Field, field: pa.Field, known_path: str, path: str) -> pa.Field:
    if known.type == field.type:
        return known
    try:
        both = pa.unify_schemas([pa.schema([known]), pa.schema([field])], promote_options="permissive").field(0)
        if holds_all(both.type, known.type) and holds_all(both.type, field.type):
            return both
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        pass
    raise InputSchemaError(
        f"column {field.name!r} is {known.type} in {known_path!r} and {field.type} in {path!r}, and no type holds the "
        f"values of both unchanged. Write the files again with one type"
    )

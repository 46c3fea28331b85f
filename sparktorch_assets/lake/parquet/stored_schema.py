"""A Parquet file's columns as its footer declares them."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq


def stored_schema(footer: pq.FileMetaData) -> pa.Schema:
    """The file's columns. Spark's older timestamp type, INT96, holds instants in UTC, but pyarrow reads it as
    timestamps without a time zone; here it becomes UTC timestamps, also inside lists and structs."""
    schema = footer.schema.to_arrow_schema().remove_metadata()
    physical = [footer.schema.column(index).physical_type for index in range(footer.num_columns)]
    if "INT96" not in physical:
        return schema
    leaves = iter(physical)
    return pa.schema([field.with_type(_with_instants(field.type, leaves)) for field in schema])


def _with_instants(kind: pa.DataType, leaves: Iterator[str]) -> pa.DataType:
    """`kind` with INT96 leaves as UTC timestamps; takes the physical types of its leaves from `leaves`."""
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_with_instants(field.type, leaves)) for field in kind])
    if pa.types.is_map(kind):
        key = _with_instants(kind.key_type, leaves)
        return pa.map_(key, kind.item_field.with_type(_with_instants(kind.item_type, leaves)))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        value = kind.value_field.with_type(_with_instants(kind.value_type, leaves))
        return pa.list_(value) if pa.types.is_list(kind) else pa.large_list(value)
    leaf = next(leaves)
    return pa.timestamp("us", "UTC") if leaf == "INT96" else kind

"""Maps the types that input tables declare to those of Spark and Arrow."""

from collections.abc import Iterable

import pyarrow as pa

from sparktorch_assets.arrow_types import arrow_type

_ITEMS = {"list<float>": "float", "list<long>": "long", "list<string>": "string"}
"""Declared list type -> the type of its items."""
_WIDENS_TO = {
    "short": (pa.int8(), pa.uint8()),
    "int": (pa.int8(), pa.int16(), pa.uint8(), pa.uint16()),
    "long": (pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16(), pa.uint32()),
    "double": (pa.float32(),),
}
"""Declared type -> narrower Arrow types that Spark reads as it without loss."""


def arrow_schema(columns: Iterable[tuple[str, str]]) -> pa.Schema:
    """The declared columns as an Arrow schema."""
    # Delta calls the items of a list `element`.
    return pa.schema([pa.field(name, arrow_type(kind, item="element")) for name, kind in columns])


def spark_ddl(columns: Iterable[tuple[str, str]]) -> str:
    """The declared columns as a DDL string for Spark."""
    return ", ".join(f"`{name.replace('`', '``')}` {_spark(kind)}" for name, kind in columns)


def _spark(kind: str) -> str:
    return f"array<{_ITEMS[kind]}>" if kind in _ITEMS else kind


def reads_as(found: pa.DataType, declared: str) -> bool:
    """Whether Spark reads a Parquet column of type `found` as `declared` without loss."""
    if pa.types.is_dictionary(found):
        return reads_as(found.value_type, declared)
    if declared in _ITEMS:
        is_list = pa.types.is_list(found) or pa.types.is_large_list(found)
        return bool(is_list and reads_as(found.value_type, _ITEMS[declared]))
    if declared == "string":
        return bool(pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found))
    if declared == "binary":
        return bool(
            pa.types.is_binary(found) or pa.types.is_large_binary(found) or pa.types.is_fixed_size_binary(found)
        )
    if declared == "timestamp":
        return bool(pa.types.is_timestamp(found) and found.unit in ("us", "ms"))
    return bool(found == arrow_type(declared) or found in _WIDENS_TO.get(declared, ()))

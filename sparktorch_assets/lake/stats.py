"""A file's statistics as Delta wants them, taken from the file's own footer, so that readers can skip files.

A wrong bound makes readers lose rows without a word, a missing one only costs time: whatever is in doubt stays out.
"""

import datetime as dt
import json
import math
from collections.abc import Collection, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_LONGEST_BOUND = 64
"""Longer strings get no bound: a cut one is no upper bound."""
_LEADING_COLUMNS, _TRAILING_COLUMNS = 28, 8
"""Delta's own writers index the first 32 columns; ours also the last ones, which are the predictions."""


def delta_stats(footer: pq.FileMetaData, schema: pa.Schema, nan_columns: Collection[str] | None = None) -> str:
    """The `stats` of an add action: `numRecords`, and per column minimum, maximum and number of nulls.

    Args:
        footer: the file's footer.
        schema: the file's Arrow schema.
        nan_columns: floating columns that hold a NaN, `None` when unknown. Parquet's bounds ignore NaN, while Spark,
            DuckDB and Polars sort it above every number: such a column has no maximum.
    """
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    if footer.num_row_groups:
        leaf = {footer.schema.column(index).path: index for index in range(footer.num_columns)}
        for name in _indexed(schema.names):
            if name not in leaf:
                continue  # nested
            found = [footer.row_group(group).column(leaf[name]).statistics for group in range(footer.num_row_groups)]
            if any(item is None or not item.has_null_count for item in found):
                continue
            nulls[name] = sum(item.null_count for item in found)
            _bounds(name, schema.field(name).type, [item for item in found if item.num_values], low, high)
            if pa.types.is_floating(schema.field(name).type) and (nan_columns is None or name in nan_columns):
                high.pop(name, None)
    return json.dumps(
        {"numRecords": footer.num_rows, "minValues": low, "maxValues": high, "nullCount": nulls}, separators=(",", ":")
    )


def _indexed(names: Sequence[str]) -> Sequence[str]:
    if len(names) <= _LEADING_COLUMNS + _TRAILING_COLUMNS:
        return names
    return [*names[:_LEADING_COLUMNS], *names[-_TRAILING_COLUMNS:]]


def _bounds(name: str, kind: pa.DataType, found: list[Any], low: dict[str, Any], high: dict[str, Any]) -> None:
    if not found or any(not item.has_min_max for item in found):
        return
    if pa.types.is_boolean(kind) or not (
        pa.types.is_primitive(kind) or pa.types.is_string(kind)
    ):  # booleans, binary, decimals: Delta readers differ
        return
    smallest, largest = min(item.min for item in found), max(item.max for item in found)
    if (bound := _json_bound(smallest, up=False)) is not None:
        low[name] = bound
    if (bound := _json_bound(largest, up=True)) is not None:
        high[name] = bound


def _json_bound(value: Any, *, up: bool) -> Any:  # noqa: PLR0911  (one answer a type)
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_BOUND else None
    if isinstance(value, dt.datetime):
        # Delta's statistics hold milliseconds: round away from the values, never into them.
        spare = value.microsecond % 1000
        value -= dt.timedelta(microseconds=spare)
        value += dt.timedelta(milliseconds=1 if up and spare else 0)
        text = value.replace(tzinfo=None).isoformat(timespec="milliseconds")
        return f"{text}Z" if value.tzinfo is not None else text
    if isinstance(value, dt.date):
        return value.isoformat()
    return None

"""A file's statistics in Delta's form, taken from the file's own footer, so that readers can skip files.

A wrong bound silently makes readers lose rows, and so does a missing one: for every column among the table's first 32
that has no bounds in a file, delta-rs 1.6.6 fills in null bounds, and then its pyarrow datasets, Polars on top of
pyarrow and DuckDB on such a dataset assume that nothing in the file matches. Therefore a file gets both bounds for
every column that delta-rs looks at, or no statistics except its number of rows, with which all readers read it. This
includes columns that the table gains later: if it can gain columns while the file stays, only the number of rows is
recorded.
"""

import datetime as dt
import json
import math
from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_LONGEST_BOUND = 64
"""Maximum number of characters of a string bound. Longer strings are truncated; an upper bound is then raised above all
strings with that prefix."""
LEADING_COLUMNS, _TRAILING_COLUMNS = 32, 8
"""Columns with bounds: the first 32, which Delta's own readers look at, and the last 8, which are the predictions."""
_LAST_CHARACTER = "\U0010ffff"

Bounds = tuple[Any, Any]


def delta_stats(
    footer: pq.FileMetaData,
    schema: pa.Schema,
    nan_columns: Collection[str] | None = None,
    *,
    may_gain_columns: bool = False,
) -> str:
    """The `stats` of an add action: `numRecords`, and the minimum, maximum and number of nulls per column.

    Args:
        footer: the file's footer.
        schema: the file's Arrow schema.
        nan_columns: floating-point columns that hold a NaN; `None` if unknown. Parquet's bounds may ignore NaN, but
            Spark, DuckDB and Polars sort it above every number, and JSON has no NaN, so such a column has no maximum.
        may_gain_columns: the table may gain columns that this file lacks, as a table does whose partitions are
            refreshed one by one. Readers would then assume that the column has no nulls in this file, although it is
            null in every row.
    """
    if may_gain_columns:
        return _rows_alone(footer)
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    if nan_columns is None and _tells_nan(footer):
        nan_columns = ()
    leaves = ((index, footer.schema.column(index)) for index in range(footer.num_columns))
    # A column's own name may contain a dot, as does the path of a struct's field, but only a column's name is its path.
    leaf = {column.name: index for index, column in leaves if column.name == column.path}
    for name in _indexed(schema.names):
        kind = schema.field(name).type
        if not _has_bounds(kind):
            continue
        groups = (footer.row_group(group) for group in range(footer.num_row_groups))
        found = [group.column(leaf[name]).statistics for group in groups if group.num_rows]
        if any(item is None or not item.has_null_count for item in found):
            return _rows_alone(footer)
        nulls[name] = sum(item.null_count for item in found)
        filled = [item for item in found if item.num_values]
        if not filled:
            continue  # null in all rows: the number of nulls suffices
        bounds = None
        if not pa.types.is_floating(kind) or (nan_columns is not None and name not in nan_columns):
            bounds = _bounds(filled)
        if bounds is None:
            return _rows_alone(footer)
        low[name], high[name] = bounds
    return _json({"numRecords": footer.num_rows, "minValues": low, "maxValues": high, "nullCount": nulls})


def _rows_alone(footer: pq.FileMetaData) -> str:
    return _json({"numRecords": footer.num_rows})


def _json(stats: dict[str, Any]) -> str:
    # As UTF-8, because delta-rs misreads a character above U+FFFF that JSON writes as two escapes.
    return json.dumps(stats, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def _tells_nan(footer: pq.FileMetaData) -> bool:
    # Spark writes with parquet-mr, which compares as Java does: a NaN makes the maximum NaN.
    return str(footer.created_by).startswith("parquet-mr ")


def _indexed(names: Sequence[str]) -> Sequence[str]:
    if len(names) <= LEADING_COLUMNS + _TRAILING_COLUMNS:
        return names
    return [*names[:LEADING_COLUMNS], *names[-_TRAILING_COLUMNS:]]


def _has_bounds(kind: pa.DataType) -> bool:
    """Whether readers look for bounds of such a column; they do not for nested and binary columns."""
    return bool(pa.types.is_primitive(kind) or pa.types.is_string(kind) or pa.types.is_decimal(kind))


def _bounds(found: Sequence[Any]) -> Bounds | None:
    """Both bounds as JSON values; `None` if one of them is unknown or cannot be written."""
    if not all(item.has_min_max for item in found):
        return None
    try:
        low, high = min(item.min for item in found), max(item.max for item in found)
    except (ValueError, OverflowError, pa.ArrowException):  # a date or time outside Python's years 1 to 9999
        return None
    bounds = _json_bound(low, up=False), _json_bound(high, up=True)
    return None if None in bounds else bounds


def _json_bound(value: Any, *, up: bool) -> Any:  # noqa: PLR0911  (one answer per type)
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return _decimal_bound(value)
    if isinstance(value, str):
        return _text_bound(value, up=up)
    if isinstance(value, dt.datetime):
        return _time_bound(value, up=up)
    if isinstance(value, dt.date):
        return value.isoformat()
    return None


def _decimal_bound(value: Decimal) -> float | None:
    # JSON has only one kind of number, and readers differ in how many digits they keep. All of them read a number
    # correctly that a double holds exactly and that is written without an exponent.
    number = float(value)
    text = repr(number)
    return number if "e" not in text and Decimal(text) == value else None


def _text_bound(value: str, *, up: bool) -> str | None:
    """The text, or a prefix of it as a bound; with `up`, raised above every text with that prefix.

    The order is that of code points, which for UTF-8 is that of bytes: the prefix "abc" becomes "abd", and "ab"
    followed by the last code point, U+10FFFF, becomes "ac".
    """
    if len(value) <= _LONGEST_BOUND:
        return value
    head = value[:_LONGEST_BOUND]
    if not up:
        return head
    head = head.rstrip(_LAST_CHARACTER)
    if not head:
        return None
    following = ord(head[-1]) + 1
    return head[:-1] + chr(0xE000 if following == 0xD800 else following)  # skips the surrogates, which no text contains


def _time_bound(value: dt.datetime, *, up: bool) -> str | None:
    # Delta's statistics hold milliseconds: round outwards, so that the bounds still enclose all values.
    spare = value.microsecond % 1000
    try:
        value -= dt.timedelta(microseconds=spare)
        value += dt.timedelta(milliseconds=1 if up and spare else 0)
    except OverflowError:  # the last millisecond of the year 9999
        return None
    text = value.replace(tzinfo=None).isoformat(timespec="milliseconds")
    return f"{text}Z" if value.tzinfo is not None else text

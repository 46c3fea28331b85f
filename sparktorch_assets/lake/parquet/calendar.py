"""Detects dates and times before 1582-10-15 in files that Spark wrote in its legacy hybrid calendar, which is Julian
before that day.

pyarrow reads them several days off, since it does not rebase them as Spark does. Which files are affected follows
Spark's own rule (`DataSourceUtils.datetimeRebaseSpec`): those that are marked as such, and those of Spark 2, which
recorded no version.
"""

import datetime as dt

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sparktorch_assets.errors import TableError

_LEGACY = (b"org.apache.spark.legacyDateTime", b"org.apache.spark.legacyINT96")
_BY_SPARK, _VERSION = b"org.apache.spark.sql.parquet.row.metadata", b"org.apache.spark.version"
_FIRST_DAY = dt.date(1582, 10, 15)


def has_older_calendar(footer: pq.FileMetaData) -> bool:
    """Whether days before 1582-10-15 in the file are in Spark's legacy calendar."""
    keys = footer.metadata or {}
    return any(key in keys for key in _LEGACY) or (_BY_SPARK in keys and _VERSION not in keys)


def check_calendar(batch: pa.RecordBatch, uri: str) -> None:
    """Raise `TableError` if a file in the legacy calendar holds a date or time before 1582-10-15."""
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if _is_early(column):
            raise TableError(
                f"{uri!r}: column {field.name!r} holds days before {_FIRST_DAY}, in the calendar of Spark 2 "
                f"(datetimeRebaseModeInWrite=LEGACY), and would be read as other days. Write the file again with Spark "
                f"3 or later and spark.sql.parquet.datetimeRebaseModeInWrite=CORRECTED"
            )


def _is_early(column: pa.Array) -> bool:
    kind = column.type
    if pa.types.is_struct(kind):
        return any(map(_is_early, column.flatten()))
    if pa.types.is_map(kind):
        return _is_early(column.keys) or _is_early(column.items)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_early(column.flatten())
    if not pa.types.is_date(kind) and not pa.types.is_timestamp(kind):
        return False
    least = pc.min(column)
    return bool(
        least.is_valid and least.cast(pa.int64() if pa.types.is_timestamp(kind) else kind).as_py() < _bound(kind)
    )


def _bound(kind: pa.DataType) -> int | dt.date:
    if pa.types.is_date(kind):
        return _FIRST_DAY
    days = (_FIRST_DAY - dt.date(1970, 1, 1)).days
    return days * 86_400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]

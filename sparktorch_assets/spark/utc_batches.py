"""Converts the timestamps of record batches to UTC, whatever the Spark session's time zone is.

Spark gives workers timestamps in the session's time zone. A hook that looks at the hour would otherwise depend on that
setting, and differ from `score_table`, which reads files in UTC.
"""

import pyarrow as pa


def in_utc(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with all its zoned timestamps in UTC, including nested ones. The instants are the same; nothing is
    copied."""
    schema = pa.schema([field.with_type(utc_type(field.type)) for field in batch.schema], batch.schema.metadata)
    return batch if schema.equals(batch.schema) else batch.cast(schema)


def utc_type(kind: pa.DataType) -> pa.DataType:
    """The type with UTC as the zone of every zoned timestamp in it."""
    if pa.types.is_timestamp(kind):
        return pa.timestamp(kind.unit, "UTC") if kind.tz is not None else kind
    if pa.types.is_struct(kind):
        return pa.struct([_utc_field(field) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_utc_field(kind.key_field), _utc_field(kind.item_field), kind.keys_sorted)
    if pa.types.is_list(kind):
        return pa.list_(_utc_field(kind.value_field))
    if pa.types.is_large_list(kind):
        return pa.large_list(_utc_field(kind.value_field))
    return kind


def _utc_field(field: pa.Field) -> pa.Field:
    return field.with_type(utc_type(field.type))

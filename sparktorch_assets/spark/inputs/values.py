"""Judges values of CSV and JSON files that Spark's readers would change instead of finding them malformed.

If no format is declared for dates and times, Spark takes `10:00` for that time on the day on which the file happens to
be read, and `2013` for 1 January, and a `date` column loses whatever follows the date. In a `byte` column of JSON, 255
becomes -1. Such columns are therefore read as they are written, judged here, and then cast, which gives the values that
Spark's reader gives for all others.
"""

from typing import TYPE_CHECKING

from sparktorch_assets.tasks.input_table import InputTable

if TYPE_CHECKING:
    from pyspark.sql import Column

_FORMAT_OPTIONS = {"date": "dateformat", "timestamp": "timestampformat"}
"""Type -> the reader option, in lower case, with which a table declares the format of such values."""
_SPACE = r"[\x00-\x20]*"
_DATE = r"[+-]?[0-9]{4,7}-[0-9]{1,2}-[0-9]{1,2}"
_MIDNIGHT = r"(?:[ T]0{1,2}:0{1,2}(?::0{1,2}(?:[.]0*)?)?(?: ?(?:Z|UTC))?)?"
"""Matches a time of zero, which exports of databases often append to dates; nothing is lost by dropping it."""
_WHOLE = {"timestamp": f"^{_SPACE}{_DATE}", "date": f"^{_SPACE}{_DATE}{_MIDNIGHT}{_SPACE}$"}
_MAX_EPOCH_SECONDS = (2**63 - 1) // 1_000_000


def judged_columns(table: InputTable) -> frozenset[str]:
    """The columns that are judged here: dates and times for which no format is declared, and `byte` columns of JSON."""
    if table.format == "parquet":
        return frozenset()
    declared = {key.lower() for key, _ in table.typed_options}
    kinds = {kind for kind, option in _FORMAT_OPTIONS.items() if option not in declared}
    kinds |= {"byte"} if table.format == "json" else set()
    return frozenset(name for name, kind in table.typed_columns if kind in kinds)


def types_to_read(table: InputTable) -> list[tuple[str, str]]:
    """The table's columns with the types to read them as; judged columns are read as they are written.

    Dates and times in JSON are read as variants, which tell the text `"2013"` from the number 2013.
    """
    judged, time = judged_columns(table), "variant" if table.format == "json" else "string"
    as_they_stand = {"byte": "short", "date": time, "timestamp": time}
    return [(name, as_they_stand[kind] if name in judged else kind) for name, kind in table.typed_columns]


def judge(raw: "Column", kind: str, file_format: str) -> "tuple[Column, Column]":
    """A judged column's value, which is null if it is malformed; and whether it is malformed, which is never null.

    Args:
        raw: the column, read with its type from `types_to_read`.
        kind: `date`, `timestamp` or `byte`.
        file_format: `csv` or `json`.
    """
    from pyspark.sql import functions

    if kind == "byte":
        value = functions.when(raw.between(-128, 127), raw.cast("byte"))
        return value, raw.isNotNull() & value.isNull()
    if file_format == "csv":
        value = _from_text(raw, kind)
        return value, raw.isNotNull() & value.isNull()
    value = _from_text(functions.try_variant_get(raw, "$", "string"), kind)
    if kind == "timestamp":  # as in Spark, a whole number in JSON counts seconds
        seconds = functions.try_variant_get(raw, "$", "bigint")
        is_number = (
            functions.schema_of_variant(raw) == "BIGINT"
        )  # slow, but only evaluated for values that are no dates
        in_range = seconds.between(-_MAX_EPOCH_SECONDS, _MAX_EPOCH_SECONDS)
        value = functions.coalesce(value, functions.when(is_number & in_range, functions.timestamp_seconds(seconds)))
    return value, raw.isNotNull() & ~functions.is_variant_null(raw) & value.isNull()


def _from_text(text: "Column", kind: str) -> "Column":
    from pyspark.sql import functions

    # What Spark's reader tries next: "2000-01-01T00:00GMT+01:00", as old versions of Spark wrote it.
    without_gmt = functions.regexp_replace(text, "^(.*?)GMT", "$1")
    value = functions.coalesce(text.try_cast(kind), without_gmt.try_cast(kind))
    return functions.when(text.rlike(_WHOLE[kind]), value)

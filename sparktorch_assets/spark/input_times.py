"""Dates and times in CSV and JSON files: a value counts as one only if it holds a whole date.

Spark's parser is lenient where no format is declared: `10:00` is that time of the day on which the file happens to be read,
`2013` is 1 January, and a `date` column loses what follows the date. Such columns are therefore read as they stand, judged
here, and then cast, which gives the values that Spark's reader would have given.
"""

from typing import TYPE_CHECKING

from sparktorch_assets.tasks.input_table import InputTable

if TYPE_CHECKING:
    from pyspark.sql import Column

_FORMAT_OPTIONS = {"date": "dateformat", "timestamp": "timestampformat"}
"""Type -> the reader option, in lower case, with which a table says itself what such values look like."""
_SPACE = r"[\x00-\x20]*"
_DATE = r"[+-]?[0-9]{4,7}-[0-9]{1,2}-[0-9]{1,2}"
_MIDNIGHT = r"(?:[ T]0{1,2}:0{1,2}(?::0{1,2}(?:[.]0*)?)?(?: ?(?:Z|UTC))?)?"
"""Exports of database columns often give a date with a time of zero: nothing is lost without it."""
_WHOLE = {"timestamp": f"^{_SPACE}{_DATE}", "date": f"^{_SPACE}{_DATE}{_MIDNIGHT}{_SPACE}$"}
_MAX_EPOCH_SECONDS = (2**63 - 1) // 1_000_000


def judged_columns(table: InputTable) -> frozenset[str]:
    """The columns whose dates and times are judged here: those of text files for which no format is declared."""
    if table.format == "parquet":
        return frozenset()
    declared = {key.lower() for key, _ in table.typed_options}
    return frozenset(
        name for name, kind in table.typed_columns if kind in _FORMAT_OPTIONS and _FORMAT_OPTIONS[kind] not in declared
    )


def types_to_read(table: InputTable) -> list[tuple[str, str]]:
    """The table's columns with the types to read them as: judged ones as they stand.

    In JSON that is a variant, which tells the text `"2013"` from the number 2013.
    """
    raw, judged = "variant" if table.format == "json" else "string", judged_columns(table)
    return [(name, raw if name in judged else kind) for name, kind in table.typed_columns]


def whole_time(raw: "Column", kind: str, file_format: str) -> "tuple[Column, Column]":
    """A judged column's value, null where it is malformed; and whether it is malformed, never null.

    Args:
        raw: the column, read as `types_to_read` says.
        kind: `date` or `timestamp`.
        file_format: `csv` or `json`.
    """
    from pyspark.sql import functions

    if file_format == "csv":
        value = _from_text(raw, kind)
        return value, raw.isNotNull() & value.isNull()
    value = _from_text(functions.try_variant_get(raw, "$", "string"), kind)
    if kind == "timestamp":  # as Spark has it: a whole number in JSON counts seconds
        seconds = functions.try_variant_get(raw, "$", "bigint")
        is_number = functions.schema_of_variant(raw) == "BIGINT"  # slow, and asked of what is no date alone
        in_range = seconds.between(-_MAX_EPOCH_SECONDS, _MAX_EPOCH_SECONDS)
        value = functions.coalesce(value, functions.when(is_number & in_range, functions.timestamp_seconds(seconds)))
    return value, raw.isNotNull() & ~functions.is_variant_null(raw) & value.isNull()


def _from_text(text: "Column", kind: str) -> "Column":
    from pyspark.sql import functions

    # The reader's second try: "2000-01-01T00:00GMT+01:00", as old versions of Spark wrote it.
    without_gmt = functions.regexp_replace(text, "^(.*?)GMT", "$1")
    value = functions.coalesce(text.try_cast(kind), without_gmt.try_cast(kind))
    return functions.when(text.rlike(_WHOLE[kind]), value)

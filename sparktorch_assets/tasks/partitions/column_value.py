"""Partitions that are the values of a column: text, whole numbers or dates."""

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sparktorch_assets.errors import InputSchemaError, nearest
from sparktorch_assets.tasks.features.column_types import TEXT
from sparktorch_assets.tasks.partitions.table_partition import TablePartition
from sparktorch_assets.tasks.row_filter import RowFilter

DATE = "date32[day]"

_NEVER_IN_A_KEY = ("...", *"\a\b\f\n\r\t\v\0")
"""What Dagster allows in no partition key."""
_NULL = "__HIVE_DEFAULT_PARTITION__"
_LONGEST_BYTES = 200
"""Longer values could exceed the 255 bytes of a folder's name, which also contains the column's name."""


def unusable_as_key(value: str) -> str | None:
    """Why a value cannot be a partition's key; `None` if it can.

    >>> unusable_as_key("JFK"), unusable_as_key("")
    (None, 'readers of Delta tables take it for a null')
    """
    if value in ("", _NULL):
        return "readers of Delta tables take it for a null"
    if any(text in value for text in _NEVER_IN_A_KEY):
        return "Dagster allows neither three dots nor control characters in a partition's key"
    if len(value.encode(errors="replace")) > _LONGEST_BYTES:
        return f"it becomes a folder's name, and is longer than {_LONGEST_BYTES} bytes"
    return None


class ColumnValues:
    """Partitions that are the values of a column."""

    __slots__ = ()

    column: str

    def table_partitions(
        self, keys: Iterable[str], column_types: Mapping[str, str], place: str
    ) -> tuple[TablePartition, ...]:
        """The partitions with these keys, in their order.

        Args:
            keys: keys of Dagster's.
            column_types: the input's columns; types as `str(pyarrow.DataType)` gives them.
            place: the beginning of error messages: the task and its input.

        Raises:
            InputSchemaError: the column is missing, or its type does not fit a key.
        """
        return tuple(value_partition(key, self.column, column_types, place) for key in keys)


def column_type(column: str, column_types: Mapping[str, str], place: str) -> str:
    """The type of the column that partitions are declared by.

    Raises:
        InputSchemaError: there is no such column.
    """
    if column not in column_types:
        raise InputSchemaError(f"{place}: partitions need column {column!r}; {nearest(column, column_types)}")
    return column_types[column]


def value_partition(key: str, column: str, column_types: Mapping[str, str], place: str) -> TablePartition:
    """The partition of the rows whose `column` has the value that `key` writes.

    Args:
        key: the value, as text.
        column: the column.
        column_types: the input's columns; types as `str(pyarrow.DataType)` gives them.
        place: the beginning of error messages.

    Raises:
        InputSchemaError: there is no such column, its type cannot be used for partitions, or the key is not how a value
            of that type is written.
    """
    read = value_reader(column, column_types, place)
    try:
        value = read(key)
    except ValueError:
        value = None
    if str(value) != key:
        written = "" if value is None else f", which is written {value}"
        kind = column_types[column]
        raise InputSchemaError(f"{place}: partition {key!r} is no value of column {column!r} of type {kind}{written}")
    return TablePartition(key=key, column=column, value=key, where=(RowFilter(column=column, value=value),))


def value_reader(column: str, column_types: Mapping[str, str], place: str) -> Callable[[str], Any]:
    """The function that reads a value of the column from text, and raises ValueError if the text is none.

    Raises:
        InputSchemaError: there is no such column, or its type cannot be used for partitions.
    """
    kind = column_type(column, column_types, place)
    if kind in TEXT:
        return str
    if kind == DATE:
        return dt.date.fromisoformat
    if re.fullmatch(r"u?int\d+", kind):
        return int
    raise InputSchemaError(
        f"{place}: partitions: column {column!r} has type {kind}; partition by the values of a string, a whole number or a "
        f"date, or by: month, day or hour of a timestamp"
    )

"""One partition of a prediction table: `{"ds": "2013-01-01"}` means the folder `ds=2013-01-01/` of the output, and the
input rows whose column has that value.

The input need not be partitioned. If it is, whole files are skipped by their partition values; if not, row groups are
skipped by their bounds, and the remaining rows are filtered one by one.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa

from sparktorch_assets.errors import InputSchemaError, TaskError, nearest
from sparktorch_assets.tasks.row_filter import RowFilter

Partition = tuple[tuple[str, str | None], ...]
"""Column -> value as text, sorted by column; `None` for a null. Empty for a table without partitions."""
_NAME_BYTES = 255
"""The longest folder name that all file systems and Delta readers accept."""
_NULL = "__HIVE_DEFAULT_PARTITION__"


def path_partition(path: str) -> Partition:
    """The partition values that a path contains.

    >>> path_partition("ds=2013-01-01/part-0.parquet")
    (('ds', '2013-01-01'),)
    >>> path_partition("ds=a%2Fb/n=__HIVE_DEFAULT_PARTITION__/part-0.parquet")
    (('ds', 'a/b'), ('n', None))
    """
    pairs = (folder.partition("=") for folder in path.split("/")[:-1] if "=" in folder)
    values = {unquote(name): None if value == _NULL else unquote(value) for name, _, value in pairs}
    return tuple(sorted(values.items()))


def partition_folder(partition: Partition) -> str:
    """The folder of a partition, relative to the table's root; empty for `()`. Names and values are percent-encoded, as
    by Hive and Spark.

    >>> partition_folder((("ds", "2013-01-01"), ("n", "a/b")))
    'ds=2013-01-01/n=a%2Fb'
    """
    return "/".join(f"{_encoded(name)}={_NULL if value is None else _encoded(value)}" for name, value in partition)


def _encoded(text: str) -> str:
    # Spark decodes each escaped byte as a separate character, so non-ASCII characters are not encoded, as in Spark.
    return re.sub(r"[\x00-\x7f]+", lambda found: quote(found[0], safe=""), text)


def parse_partition(given: Mapping[str, Any] | None, columns: pa.Schema) -> tuple[Partition, tuple[RowFilter, ...]]:
    """The partition in canonical form, and the filters that select its rows of the input.

    Args:
        given: column -> value; `None` or empty for the whole table.
        columns: the input's columns, in Delta's types.

    Raises:
        InputSchemaError: the input has no such column, or its type cannot be used for partitions.
        TaskError: the value is not of the column's type, or cannot be a partition: it is null, an empty string, or too
            long for a folder's name.
    """
    partition, rows = [], []
    for name, value in sorted((given or {}).items()):
        if name not in columns.names:
            raise InputSchemaError(
                f"partition={given!r}: the input has no column {name!r}; {nearest(name, columns.names)}"
            )
        kind = columns.field(name).type
        if not (pa.types.is_string(kind) or pa.types.is_integer(kind) or kind == pa.date32()):
            raise InputSchemaError(
                f"partition={given!r}: column {name!r} has type {kind}; partition by a string, a whole number or a date"
            )
        if value is None:
            raise TaskError(
                f"partition={given!r}: a null cannot be refreshed as a partition, since no condition holds for it. "
                f"Give these rows a value of their own in column {name!r}"
            )
        try:
            typed: Any = pa.scalar(str(value)).cast(kind).as_py()
        except (pa.ArrowInvalid, UnicodeEncodeError) as error:
            raise TaskError(
                f"partition={given!r}: {value!r} is not a valid {kind}, the type of column {name!r}"
            ) from error
        text = str(typed)
        if text in ("", _NULL):
            raise TaskError(
                f"partition={given!r}: readers of Delta tables read {text!r} as a null; give these rows another value "
                f"in column {name!r}"
            )
        if len(partition_folder(((name, text),)).encode()) > _NAME_BYTES:
            raise TaskError(
                f"partition={given!r}: the value of {name!r} becomes a folder's name, percent-encoded, of more than "
                f"{_NAME_BYTES} bytes; partition by a shorter value"
            )
        partition.append((name, text))
        rows.append(RowFilter(column=name, op="==", value=typed))
    return tuple(partition), tuple(rows)


@lru_cache(maxsize=4096)
def canonical_value(name: str, value: str | None, kind: pa.DataType) -> str | None:
    """The partition value of a file in the canonical form of `parse_partition`.

    Raises:
        InputSchemaError: it is not valid for the column's type.
    """
    if value is None:
        return None
    try:
        return str(pa.scalar(value).cast(kind).as_py())
    except pa.ArrowInvalid as error:
        raise InputSchemaError(
            f"the partition folder {partition_folder(((name, value),))!r} has no value of type {kind}, the type of "
            f"column {name!r}"
        ) from error

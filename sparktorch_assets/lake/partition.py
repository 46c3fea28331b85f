"""One partition of a prediction table: `{"ds": "2013-01-01"}` is the folder `ds=2013-01-01/` of the output, and the rows
of the input for which the column has that value.

The input needs no partitions of its own. Where it has some, whole files are left out by their partition values; where it
has none, row groups are left out by their bounds, and the rest is filtered row by row.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from sparktorch_assets.errors import InputSchemaError, TaskError, nearest
from sparktorch_assets.tasks.row_filter import RowFilter

Partition = tuple[tuple[str, str], ...]
"""Column -> value as text, sorted by column; empty for a table without partitions."""
_SAFE = re.compile(r"[A-Za-z0-9_.\-]+")
_NULL = "__HIVE_DEFAULT_PARTITION__"


def path_partition(path: str) -> Partition:
    """The values that stand in a path.

    >>> path_partition("ds=2013-01-01/part-0.parquet")
    (('ds', '2013-01-01'),)
    """
    pairs = (folder.partition("=") for folder in path.split("/")[:-1] if "=" in folder)
    return tuple(sorted((name, unquote(value)) for name, _, value in pairs if value != _NULL))


def partition_folder(partition: Partition) -> str:
    """The folder of a partition, relative to the table's root; empty without one.

    >>> partition_folder((("ds", "2013-01-01"),))
    'ds=2013-01-01'
    """
    return "/".join(f"{name}={value}" for name, value in partition)


def read_partition(given: Mapping[str, Any] | None, columns: pa.Schema) -> tuple[Partition, tuple[RowFilter, ...]]:
    """The partition in its one spelling, and the rows of the input that belong to it.

    Args:
        given: column -> value; `None` or empty for the whole table.
        columns: the input's columns, in Delta's types.

    Raises:
        InputSchemaError: the input has no such column, or one of a type that cannot partition.
        TaskError: the value is not of the column's type, or cannot be a folder's name.
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
        try:
            typed: Any = pa.scalar(str(value)).cast(kind).as_py()
        except pa.ArrowInvalid as error:
            raise TaskError(f"partition={given!r}: {value!r} is no {kind}, the type of column {name!r}") from error
        if not all(_SAFE.fullmatch(text) for text in (name, str(typed))):
            raise TaskError(
                f"partition={given!r}: {name}={typed} becomes a folder's name, which may hold letters, digits, '.', '_' "
                f"and '-'; add a column with such values to the input and partition by that"
            )
        partition.append((name, str(typed)))
        rows.append(RowFilter(column=name, op="==", value=typed))
    return tuple(partition), tuple(rows)


def in_partition(values: Iterable[tuple[str, str]], partition: Partition) -> bool:
    """Whether an input file with these partition values may hold rows of the partition: none of them says otherwise."""
    wanted = dict(partition)
    return all(wanted.get(name, value) == value for name, value in values)

"""Finds the rows of two tables that have the same key."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from sparktorch_assets.comparison.buckets import Buckets, bucket_count
from sparktorch_assets.errors import InputSchemaError, TableError, nearest
from sparktorch_assets.lake.table import Table

FILE, ROW = "__file", "__row"
"""Where a row lies: the index of its file in the table, and its position in the file."""
_BATCH_ROWS = 1 << 17


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One of the two tables."""

    name: str
    """What messages call it: `predictions/digit`."""
    table: Table
    keys: Sequence[str]
    """The columns of the key, in the same order as the other side's."""
    columns: Mapping[str, str]
    """The compared columns: the name that they have in both tables' matched rows -> the name in this table."""

    @property
    def key_names(self) -> list[str]:
        """The names of the key's columns in matched rows."""
        return [f"__key{place}" for place, _ in enumerate(self.keys)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Matched:
    """Rows with equal keys: row i of one table belongs to row i of the other. Keys are in both."""

    champion: pa.Table
    challenger: pa.Table
    only_champion: int
    """Number of rows whose key the other table does not have."""
    only_challenger: int


def matched_rows(champion: Side, challenger: Side) -> Iterator[Matched]:
    """The rows of both tables, one bucket of keys after the other.

    Raises:
        InputSchemaError: a table lacks a column, or a column of the key has another type in the other table.
        TableError: a key is null, or belongs to more than one row of a table.
    """
    _check_columns(champion, challenger)
    count = bucket_count(max(champion.table.row_count(), challenger.table.row_count()))
    with tempfile.TemporaryDirectory(prefix="sparktorch_comparison_") as folder:
        one = _divide(champion, Path(folder, "champion"), count)
        other = _divide(challenger, Path(folder, "challenger"), count)
        for bucket in range(count):
            yield _match(champion, one.read(bucket), challenger, other.read(bucket))


def _check_columns(champion: Side, challenger: Side) -> None:
    for side in (champion, challenger):
        schema = side.table.schema
        for column in (*side.keys, *side.columns.values()):
            if column not in schema.names:
                raise InputSchemaError(
                    f"{side.name} has no column {column!r}, which the comparison needs; {nearest(column, schema.names)}. A "
                    f"column of challenger_of.join_on has to be in keep_columns of both tasks"
                )
    for one, other in zip(champion.keys, challenger.keys, strict=True):
        types = [side.table.schema.field(name).type for side, name in ((champion, one), (challenger, other))]
        if types[0] != types[1]:
            raise InputSchemaError(
                f"challenger_of.join_on names {one!r}, which is {types[0]} in {champion.name} and {types[1]} in "
                f"{challenger.name}; refresh the older table, or join on a column that has one type"
            )


def _divide(side: Side, folder: Path, count: int) -> Buckets:
    read = list(dict.fromkeys([*side.keys, *side.columns.values()]))
    schema = side.table.schema
    made = pa.schema(
        [
            *(pa.field(name, schema.field(key).type) for name, key in zip(side.key_names, side.keys, strict=True)),
            *(pa.field(name, schema.field(column).type) for name, column in side.columns.items()),
            pa.field(FILE, pa.int32()),
            pa.field(ROW, pa.int64()),
        ]
    )
    sources = [*side.keys, *side.columns.values()]
    file, row = -1, 0
    with Buckets(folder, count, made, side.key_names) as buckets:
        for index, batch in side.table.batches(read, _BATCH_ROWS):
            if index != file:
                file, row = index, 0
            places = pa.array(range(row, row + batch.num_rows), pa.int64())
            row += batch.num_rows
            arrays = [batch.column(name) for name in sources]
            _require_keys(side, arrays)
            files = pa.repeat(pa.scalar(index, pa.int32()), batch.num_rows)
            buckets.add(pa.RecordBatch.from_arrays([*arrays, files, places], schema=made))
    return buckets


def _require_keys(side: Side, arrays: Sequence[pa.Array]) -> None:
    for key, array in zip(side.keys, arrays, strict=False):
        if array.null_count:
            raise TableError(
                f"{side.name} has rows without a value in {key!r}, which challenger_of joins on; name columns in join_on that "
                f"every row has, or leave such rows out of the input"
            )


def _match(champion: Side, one: pa.Table, challenger: Side, other: pa.Table) -> Matched:
    keys = champion.key_names
    for side, rows in ((champion, one), (challenger, other)):
        repeated = rows.num_rows - _distinct(side, rows.select(keys))
        if repeated:
            raise TableError(
                f"{side.name}: {repeated:,} rows or more have the key ({', '.join(side.keys)}) of another row, so that it is not "
                f"known which rows belong together; name columns in challenger_of.join_on that tell all rows apart"
            )
    left = one.select(keys).append_column("left", pa.array(range(one.num_rows), pa.int64()))
    right = other.select(keys).append_column("right", pa.array(range(other.num_rows), pa.int64()))
    # Joined are the keys alone: Arrow joins no columns of lists, and predictions may be lists.
    places = left.join(right, keys, join_type="inner", use_threads=False).sort_by("left")
    return Matched(
        champion=one.take(places["left"]),
        challenger=other.take(places["right"]),
        only_champion=one.num_rows - places.num_rows,
        only_challenger=other.num_rows - places.num_rows,
    )


def _distinct(side: Side, keys: pa.Table) -> int:
    try:
        return int(keys.group_by(keys.column_names).aggregate([]).num_rows)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise InputSchemaError(
            f"{side.name}: ({', '.join(side.keys)}) cannot be a key: {error}; join on columns of numbers, strings or dates"
        ) from error

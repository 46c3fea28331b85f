"""Cuts the row groups of one file into ranges: several small row groups together, or a part of a large one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sparktorch_assets.lake.parquet.footers import RowGroup

MOST_RANGES = 256
"""Parts into which one row group is split at most. To reach its rows, each part decodes those before them: about 0.1 s
per million rows."""
_MOST_BYTES = 32 << 30
"""Uncompressed bytes of a row group times its parts, which read half of that before they reach their rows. A row group of
1 GiB is split into at most 32 parts, one of 10 GiB into three."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupRange:
    """Row groups `first` to `end` (exclusive), or some rows of a single row group."""

    first: int
    end: int
    rows: tuple[int, int] | None = None
    """The first row and the end (exclusive), counted within the row group; `None` for whole row groups."""


def cut_row_groups(
    groups: Sequence[RowGroup], *, target_rows: int, target_bytes: int, shard_rows: int | None = None
) -> Iterator[GroupRange]:
    """The ranges, in order; none without rows.

    For example, row groups of 5, 5, 20 and 7 rows with `shard_rows=10` give groups 0 and 1, rows 0 to 9 of group 2,
    rows 10 to 19 of it, and group 3.

    Args:
        groups: the row groups of a file.
        target_rows: a range ends at the first row group with which it has this many rows,
        target_bytes: or this many uncompressed bytes.
        shard_rows: row groups of at least twice this many rows are split into parts of about this many, equal to a row.
            `None`: row groups are never split.
    """
    first = rows = size = 0
    for index, group in enumerate(groups):
        is_split = shard_rows is not None and group.rows >= 2 * shard_rows
        if rows and is_split:
            yield GroupRange(first=first, end=index)
        if shard_rows is not None and is_split:
            count = min(MOST_RANGES, round(group.rows / shard_rows), max(2, _MOST_BYTES // max(group.bytes, 1)))
            for part in range(count):
                part_rows = group.rows * part // count, group.rows * (part + 1) // count
                yield GroupRange(first=index, end=index + 1, rows=part_rows)
            first, rows, size = index + 1, 0, 0
            continue
        rows += group.rows
        size += group.bytes
        if rows >= target_rows or size >= target_bytes or index == len(groups) - 1:
            if rows:
                yield GroupRange(first=first, end=index + 1)
            first, rows, size = index + 1, 0, 0

"""The rows with the smallest values of a column, from the row groups whose bounds say that they hold some.

It is a sample: the number of parts and the bytes that are read are limited, whatever the table's size.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.parts.damage import damaged_file

_PARTS = 64
"""The largest number of parts whose footers are read, the newest first."""
_BYTES = 64 << 20
"""The most bytes of columns that are read."""
_BATCH_ROWS = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class SmallestRows:
    """Rows in the order of the column, and how much of the table was looked at for them."""

    rows: Sequence[dict[str, Any]]
    parts: int
    """Parts that were looked at."""
    of_parts: int
    """Parts that there are."""


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class _Group:
    """A row group, by its smallest value."""

    smallest: float
    path: str
    index: int
    bytes: int


def smallest_rows(files: Sequence[DataFile], column: str, wanted: Sequence[str], rows: int) -> SmallestRows:
    """The `rows` rows with the smallest values of `column` among the row groups that are read; nulls do not count.

    Args:
        files: the files of a table whose columns have the same names there.
        column: a column of numbers with bounds in the footers.
        wanted: the columns to return, in addition to `column`.
        rows: the largest number of rows to return.

    Raises:
        TableError: a file is damaged.
    """
    looked_at = heapq.nlargest(_PARTS, files, key=lambda file: (file.modified_ms, file.path))
    by_path = {file.path: file for file in looked_at if not file.deleted and file.mapping is None}
    groups = sorted(group for file in by_path.values() for group in _groups(file, column, wanted))
    found: list[tuple[float, int, dict[str, Any]]] = []
    left, order = _BYTES, 0
    for group in groups:
        full = len(found) == rows
        if full and -found[0][0] <= group.smallest:
            break  # no later group holds a smaller value either
        if group.bytes > left:
            continue
        left -= group.bytes
        for row in _read(by_path[group.path], group.index, column, wanted, rows):
            order += 1
            entry = (-float(row[column]), -order, row)  # the root of the heap is the largest value kept
            if len(found) < rows:
                heapq.heappush(found, entry)
            else:
                heapq.heappushpop(found, entry)
    kept = [row for _, _, row in sorted(found, key=lambda item: (-item[0], -item[1]))]
    return SmallestRows(rows=kept, parts=len(by_path), of_parts=len(files))


def _groups(file: DataFile, column: str, wanted: Sequence[str]) -> list[_Group]:
    with Folder(file.uri).open_input() as source, pq.ParquetFile(source) as parquet:
        footer = parquet.metadata
    groups = []
    for index in range(footer.num_row_groups):
        chunks = {
            footer.row_group(index).column(place).path_in_schema: footer.row_group(index).column(place)
            for place in range(footer.num_columns)
        }
        bounds = chunks[column].statistics if column in chunks else None
        if bounds is not None and bounds.has_min_max:
            size = sum(chunk.total_compressed_size for path, chunk in chunks.items() if path in (column, *wanted))
            groups.append(_Group(smallest=float(bounds.min), path=file.path, index=index, bytes=size))
    return groups


def _read(file: DataFile, group: int, column: str, wanted: Sequence[str], rows: int) -> list[dict[str, Any]]:
    """The group's rows with the smallest values, of which only a few are held at a time."""
    kept: pa.Table | None = None
    try:
        with (
            Folder(file.uri).open_input() as source,
            pq.ParquetFile(source, page_checksum_verification=True) as parquet,
        ):
            names = [name for name in dict.fromkeys([column, *wanted]) if name in parquet.schema_arrow.names]
            for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group], columns=names):
                some = pa.Table.from_batches([batch.filter(pc.is_valid(batch.column(column)))])
                both = some if kept is None else pa.concat_tables([kept, some])
                kept = both.take(pc.select_k_unstable(both, rows, [(column, "ascending")]))
    except (OSError, pa.ArrowException) as error:
        raise damaged_file(file.uri, error) from error
    return [] if kept is None else kept.to_pylist()

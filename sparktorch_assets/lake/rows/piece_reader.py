"""Reads one piece of a shard as a stream of record batches: only the columns that are needed, in the table's types.

Memory is bounded by `_BATCH_BYTES` (decoded) and the current pages, whatever the row group's size.
"""

import socket
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sparktorch_assets.errors import TableError
from sparktorch_assets.file_identity import FileIdentity
from sparktorch_assets.lake.cut.piece import Piece
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.log.deletions import KeptRows, unpack_rows
from sparktorch_assets.lake.parquet.file_columns import FileColumns
from sparktorch_assets.lake.parquet.footers import footer_bytes, footer_digest
from sparktorch_assets.lake.parquet.group_filter import FileBounds, GroupFilter
from sparktorch_assets.lake.parts.damage import damaged_file
from sparktorch_assets.lake.scope import decided_by_values
from sparktorch_assets.tasks.row_test import RowTest

_BATCH_ROWS = 1 << 16
_BATCH_BYTES = 32 << 20
_BUFFER_BYTES = 1 << 20
_WHOLE_FILE_BYTES = 1 << 20
"""A file of at most this size is read at once: on a store, that is one request instead of several, and on a disk, half the
time for a file of a few rows."""
_SAMPLED_GROUPS = 8
"""About how many row groups tell how large a row is."""


class PieceReader:
    """An open piece.

    Raises:
        TableError: the file is missing, is not the one that was planned, or has columns that do not fit the table's.
    """

    def __init__(
        self,
        piece: Piece,
        schema: pa.Schema,
        where: Sequence[RowTest] = (),
        partition: Sequence[RowTest] = (),
        *,
        before: FileColumns | None = None,
    ) -> None:
        """Open the file and check that it is the one that was planned; rows are read later.

        Args:
            piece: the rows to read.
            schema: the wanted columns, in the table's types.
            where: the tests of a task's `where`.
            partition: the tests that select the rows of the output's partition.
            before: the columns of a piece that was read before with the same `schema`, which need not be found again if
                this one's are equal.

        Row groups in which no row can pass are skipped; the others are read with all their rows.
        """
        self._piece = piece
        self._folder = Folder(piece.file.uri)
        self._opened = self._identity()
        try:
            self._source: Any = self._folder.open_input()
            is_whole = piece.file.size_bytes <= _WHOLE_FILE_BYTES
            if is_whole:
                with self._source as opened:
                    self._source = pa.BufferReader(opened.read())
            raw = footer_bytes(self._source)
            self._file = pq.ParquetFile(
                self._source,
                metadata=None if is_whole else pq.read_metadata(pa.BufferReader(raw)),  # not to read it again
                buffer_size=_BUFFER_BYTES,
                pre_buffer=False,
                coerce_int96_timestamp_unit="us",  # nanoseconds cover only the years 1677 to 2262
                page_checksum_verification=True,
            )
        except (OSError, pa.ArrowException) as error:
            raise TableError(f"cannot read {piece.file.uri!r}: {error}") from error
        self.footer: pq.FileMetaData = self._file.metadata
        groups = range(piece.first_group, piece.end_group)
        if footer_digest(raw) != piece.footer_digest:
            raise self._changed()
        self.columns = FileColumns(piece.file, self.footer, schema, before=before)
        deleted = self._deleted_rows(groups)
        outside, filtered, self._groups = self._divided(groups, where, partition)
        self._deleted = np.concatenate([np.empty(0, bool), *(deleted[group] for group in self._groups if deleted)])
        kept = {group: self._rows([group]) - (int(deleted[group].sum()) if deleted else 0) for group in groups}
        self.outside_rows = sum(kept[group] for group in outside)
        """Number of rows in the row groups that are skipped because they hold no row of the partition, without rows
        that the table deleted."""
        self.filtered_rows = sum(kept[group] for group in filtered)
        """Number of the partition's rows in the row groups that are skipped because of `where`, counted likewise."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._source.close()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The piece's rows, in the file's order."""
        kept = KeptRows(self._deleted)
        found = 0
        for batch in self._decoded():
            left = kept.of_next(batch)
            found += left.num_rows
            if left.num_rows:
                yield self.columns.conform(left)
        if found != self._piece.rows - self.outside_rows - self.filtered_rows:
            raise self._changed()
        if self._identity() != self._opened:
            raise self._changed()

    def _decoded(self) -> Iterator[pa.RecordBatch]:
        """The rows of the row groups to read; of a row group that is split, the piece's own. The rows before those are
        decoded too, since a page can only be decoded from its start."""
        batches = self._file.iter_batches(
            batch_size=self._batch_rows(),
            row_groups=self._groups,
            columns=self.columns.names,
            use_threads=False,
        )
        first, end = self._piece.row_range or (0, self._rows(self._groups))
        at = 0
        while at < end and (batch := self._next(batches)) is not None:
            start = max(first - at, 0)
            if start < batch.num_rows:
                yield batch.slice(start, end - at - start)
            at += batch.num_rows

    def _next(self, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
        try:
            return next(batches, None)
        except (OSError, pa.ArrowException) as error:
            if self._identity() != self._opened:
                raise self._changed() from error
            raise damaged_file(self._piece.file.uri, error) from error

    def _batch_rows(self) -> int:
        if self._piece.row_range is None and self._piece.bytes <= _BATCH_BYTES:
            return _BATCH_ROWS
        return max(1, min(_BATCH_ROWS, int(_BATCH_BYTES / max(self._row_bytes(), 1e-9))))

    def _row_bytes(self) -> float:
        """Uncompressed bytes per row of the columns that are read, from some of the row groups."""
        rows = size = 0
        for number in self._groups[:: len(self._groups) // _SAMPLED_GROUPS + 1]:
            group = self.footer.row_group(number)
            rows += group.num_rows
            chunks = map(group.column, range(group.num_columns))
            size += sum(
                chunk.total_uncompressed_size
                for chunk in chunks
                if chunk.path_in_schema.split(".")[0] not in self.columns.unread
            )
        return size / max(rows, 1)

    def _rows(self, groups: Iterable[int]) -> int:
        """Number of the piece's rows in these row groups, including deleted ones."""
        if self._piece.row_range is not None:
            first, end = self._piece.row_range
            return end - first if list(groups) else 0
        return sum(self.footer.row_group(group).num_rows for group in groups)

    def _divided(
        self, groups: Iterable[int], where: Sequence[RowTest], partition: Sequence[RowTest]
    ) -> tuple[list[int], list[int], list[int]]:
        """The row groups without a row of the partition, those all of whose rows are in it and are excluded by `where`,
        and those to read."""
        file, bounds = self._piece.file, FileBounds(self.footer)
        inside, passing = (GroupFilter(bounds, file.stored_tests(tests)) for tests in (partition, where))
        by_bounds = decided_by_values(file, partition)
        outside, filtered, read = [], [], []
        for group in groups:
            if not inside.may_match(group):
                outside.append(group)
            elif not passing.may_match(group) and by_bounds and inside.all_match(group):
                filtered.append(group)
            else:  # also if `where` excludes all rows, but only the rows tell which of them are in the partition
                read.append(group)
        return outside, filtered, read

    def _deleted_rows(self, groups: range) -> dict[int, np.ndarray]:
        """Row group -> mask of its deleted rows in the piece; empty if the table deleted none of them."""
        if not self._piece.deleted:
            return {}
        mask = unpack_rows(self._piece.deleted, self._rows(groups))
        ends = np.cumsum([self._rows([group]) for group in groups])[:-1]
        return dict(zip(groups, np.split(mask, ends), strict=True))

    def _identity(self) -> FileIdentity:
        """The file's current identity, if it is the one that was planned.

        Raises:
            TableError: it is another file, or missing.
        """
        found, piece = self._folder.identity(), self._piece
        # A copied file may not have the modification time that Delta's log records, so only the log's size is checked.
        if found is None or found.size_bytes != piece.file.size_bytes or not found.agrees_with(piece.seen):
            raise self._changed()
        return found

    def _changed(self) -> TableError:
        return TableError(
            f"{self._piece.file.uri!r} is no longer the file for which this run was planned (it was rewritten or "
            f"deleted during the run, or {socket.gethostname()!r} does not share this folder); run again"
        )

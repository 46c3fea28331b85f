"""The pieces of one file that may hold rows of a partition."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

from sparktorch_assets.lake.cut.piece import Piece
from sparktorch_assets.lake.cut.row_groups import GroupRange
from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.log.deletions import pack_rows, unpack_rows
from sparktorch_assets.lake.parquet.footers import Footer
from sparktorch_assets.lake.parquet.group_filter import FileBounds, GroupFilter
from sparktorch_assets.lake.scope import Scope


class FilePieces:
    """The pieces of one file. What the pieces of all partitions have in common is found once."""

    def __init__(self, file: DataFile, footer: Footer, ranges: Sequence[GroupRange]) -> None:
        self._file, self._footer, self._ranges = file, footer, ranges
        self._starts = tuple(itertools.accumulate((group.rows for group in footer.row_groups), initial=0))
        self._deleted = unpack_rows(file.deleted, footer.rows if file.deleted else 0)
        self._carried = replace(file, deleted=b"", logged_path="")  # a piece carries only the bits of its own rows

    @cached_property
    def _bounds(self) -> FileBounds:
        return FileBounds(self._footer.metadata())

    def within(self, scope: Scope) -> Iterator[Piece]:
        """The pieces that may hold rows of the scope, in the file's order; none of them without rows."""
        stored = self._file.stored_tests(scope.tests)
        wanted = GroupFilter(self._bounds, stored) if stored else None
        if wanted is not None and not wanted.may_match_any():
            return
        for cut in self._ranges:
            start, end = self._rows_of(cut)
            gone = self._deleted[start:end]
            rows = end - start - int(gone.sum())
            if not rows or (wanted is not None and not any(map(wanted.may_match, range(cut.first, cut.end)))):
                continue
            yield Piece(
                file=self._carried,
                first_group=cut.first,
                end_group=cut.end,
                row_range=cut.rows,
                rows=rows,
                deleted=pack_rows(gone),
                bytes=self._bytes_of(cut),
                footer_digest=self._footer.digest,
                seen=self._footer.seen,
            )

    def _rows_of(self, cut: GroupRange) -> tuple[int, int]:
        """The first row and the end, counted within the file."""
        start = self._starts[cut.first]
        return (start, self._starts[cut.end]) if cut.rows is None else (start + cut.rows[0], start + cut.rows[1])

    def _bytes_of(self, cut: GroupRange) -> int:
        groups = self._footer.row_groups[cut.first : cut.end]
        if cut.rows is None:
            return sum(group.bytes for group in groups)
        return groups[0].bytes * (cut.rows[1] - cut.rows[0]) // groups[0].rows

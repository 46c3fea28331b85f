"""Cuts a table's files into shards (ranges of row groups within one file) and computes their fingerprints.

The cut depends only on the files, never on cores or on settings of a run: the same files give the same fingerprints on
any machine, which makes parts reusable.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from sparktorch_assets.file_identity import FileIdentity
from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.files.partition_values import Partition
from sparktorch_assets.lake.log.deletions import pack_rows, unpack_rows
from sparktorch_assets.lake.parquet.footers import Footer, RowGroup
from sparktorch_assets.lake.parquet.group_filter import FileBounds, GroupFilter
from sparktorch_assets.lake.parts.file import part_path
from sparktorch_assets.lake.scope import Scope, ScopeIndex

TARGET_ROWS = 500_000
TARGET_BYTES = 128 << 20
"""Target sizes of a shard, in rows and uncompressed bytes. A shard ends at the first row group with which it reaches
either; a row group is never split."""
_FORMAT = 2
"""Version of the parts' content. Increment it when parts change in a way that no digest covers (this library's
arithmetic, the layout of parts)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """Row groups `first_group` to `end_group` (exclusive) of one file, and the fingerprint that names their part."""

    fingerprint: str
    file: DataFile
    first_group: int
    end_group: int
    rows: int
    """Number of rows, without those that the table deleted."""
    deleted: bytes = b""
    """The rows of these groups that the table deleted: one bit per row, lowest bit first; empty for none."""
    bytes: int
    """Uncompressed size of the row groups."""
    footer_digest: str
    seen: FileIdentity
    """The file's identity when it was planned; it must be the same when it is read."""
    partition: Partition = ()
    """Partition values of the output table."""

    @property
    def part_path(self) -> str:
        """The path of the shard's part, relative to the output table."""
        return part_path(self.fingerprint, self.partition)


def make_shards(
    files: Sequence[DataFile],
    footers: Sequence[Footer],
    scopes: ScopeIndex,
    *,
    target_rows: int = TARGET_ROWS,
    target_bytes: int = TARGET_BYTES,
) -> dict[Partition, list[Shard]]:
    """The shards of each scope (by its partition) in the files' order. Files without rows give no shards, nor do row
    groups that cannot match.

    Args:
        files: the input's files.
        footers: their footers, in the same order.
        scopes: what the refresh covers.
        target_rows: see `TARGET_ROWS`.
        target_bytes: see `TARGET_BYTES`.
    """
    shards: dict[Partition, list[Shard]] = {}
    for file, footer in zip(files, footers, strict=True):
        cut = _FileShards(file, footer, tuple(_cut(footer.row_groups, target_rows, target_bytes)))
        for scope in scopes.scopes_of(file):
            shards.setdefault(scope.partition, []).extend(cut.within(scope))
    return shards


class _FileShards:
    """The shards of one file. What the shards of all partitions have in common is found once."""

    def __init__(self, file: DataFile, footer: Footer, ranges: Sequence[tuple[int, int]]) -> None:
        self._file, self._footer, self._ranges = file, footer, ranges
        self._starts = tuple(itertools.accumulate((group.rows for group in footer.row_groups), initial=0))
        self._deleted = unpack_rows(file.deleted, footer.rows if file.deleted else 0)
        self._carried = replace(file, deleted=b"", logged_path="")  # a shard carries only the bits of its own rows

    @cached_property
    def _bounds(self) -> FileBounds:
        return FileBounds(self._footer.metadata())

    def within(self, scope: Scope) -> Iterator[Shard]:
        """The shards that may hold rows of the scope, in the file's order."""
        file, footer = self._file, self._footer
        stored = file.stored_tests(scope.tests)
        wanted = GroupFilter(self._bounds, stored) if stored else None
        if wanted is not None and not wanted.may_match_any():
            return
        identity = None
        for first, end in self._ranges:
            gone = self._deleted[self._starts[first] : self._starts[end]]
            rows = self._starts[end] - self._starts[first] - int(gone.sum())
            if not rows or (wanted is not None and not any(map(wanted.may_match, range(first, end)))):
                continue
            if identity is None:
                identity = hashlib.sha256(
                    json.dumps(
                        [
                            _FORMAT,
                            scope.digest,
                            file.path,
                            file.size_bytes,
                            file.modified_ms,
                            file.partition,
                            footer.digest,
                        ]
                    ).encode()
                )
            bits = pack_rows(gone)
            fingerprint = identity.copy()
            fingerprint.update(f"{first}:{end}".encode() + bits)
            yield Shard(
                fingerprint=fingerprint.hexdigest()[:32],
                file=self._carried,
                first_group=first,
                end_group=end,
                rows=rows,
                bytes=sum(group.bytes for group in footer.row_groups[first:end]),
                footer_digest=footer.digest,
                seen=footer.seen,
                partition=scope.partition,
                deleted=bits,
            )


def _cut(groups: Sequence[RowGroup], target_rows: int, target_bytes: int) -> Iterator[tuple[int, int]]:
    first = rows = size = 0
    for index, group in enumerate(groups):
        rows += group.rows
        size += group.bytes
        if rows >= target_rows or size >= target_bytes or index == len(groups) - 1:
            if rows:
                yield first, index + 1
            first, rows, size = index + 1, 0, 0

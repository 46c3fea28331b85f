"""Cuts a table's files into shards (ranges of row groups within one file) and computes their fingerprints.

The cut depends only on the files, never on cores or on settings of a run: the same files give the same fingerprints on
any machine, which makes parts reusable.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sparktorch_assets.file_identity import FileIdentity
from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.files.partition_values import Partition
from sparktorch_assets.lake.log.deletions import pack_rows, unpack_rows
from sparktorch_assets.lake.parquet.footers import Footer, RowGroup
from sparktorch_assets.lake.parquet.group_filter import GroupFilter
from sparktorch_assets.lake.parts.file import part_path
from sparktorch_assets.tasks.row_test import RowTest

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
    digest: str,
    *,
    target_rows: int = TARGET_ROWS,
    target_bytes: int = TARGET_BYTES,
    partition: Partition = (),
    tests: Sequence[RowTest] = (),
) -> list[Shard]:
    """All shards of the files, in the files' order. Files without rows give no shards, nor do row groups that cannot
    match.

    Args:
        files: the input's files.
        footers: their footers, in the same order.
        digest: a hash of everything that the output depends on, except the rows: model, task, output schema.
        target_rows: see `TARGET_ROWS`.
        target_bytes: see `TARGET_BYTES`.
        partition: the partition of the output to which the parts belong; `digest` must depend on it as well.
        tests: select the requested rows.
    """
    shards = []
    for file, footer in zip(files, footers, strict=True):
        identity = hashlib.sha256(
            json.dumps(
                [_FORMAT, digest, file.path, file.size_bytes, file.modified_ms, file.partition, footer.digest]
            ).encode()
        )
        deleted = unpack_rows(file.deleted, footer.rows if file.deleted else 0)
        carried = replace(file, deleted=b"", logged_path="")  # a shard carries only the bits of its own rows
        starts = list(itertools.accumulate((group.rows for group in footer.row_groups), initial=0))
        stored = file.stored_tests(tests)
        wanted = GroupFilter(footer.metadata(), stored) if stored else None
        for first, end in _cut(footer.row_groups, target_rows, target_bytes):
            groups = footer.row_groups[first:end]
            gone = deleted[starts[first] : starts[end]]
            rows = starts[end] - starts[first] - int(gone.sum())
            if not rows or (wanted is not None and not any(map(wanted.may_match, range(first, end)))):
                continue
            bits = pack_rows(gone)
            fingerprint = identity.copy()
            fingerprint.update(f"{first}:{end}".encode() + bits)
            shards.append(
                Shard(
                    fingerprint=fingerprint.hexdigest()[:32],
                    file=carried,
                    first_group=first,
                    end_group=end,
                    rows=rows,
                    bytes=sum(group.bytes for group in groups),
                    footer_digest=footer.digest,
                    seen=footer.seen,
                    partition=partition,
                    deleted=bits,
                )
            )
    return shards


def _cut(groups: Sequence[RowGroup], target_rows: int, target_bytes: int) -> Iterator[tuple[int, int]]:
    first = rows = size = 0
    for index, group in enumerate(groups):
        rows += group.rows
        size += group.bytes
        if rows >= target_rows or size >= target_bytes or index == len(groups) - 1:
            if rows:
                yield first, index + 1
            first, rows, size = index + 1, 0, 0

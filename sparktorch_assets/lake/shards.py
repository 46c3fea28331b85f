"""Divides a table's files into shards and computes their fingerprints.

The cut depends only on the files and on the number of rows that a table's shards should have, never on cores or on
settings of a run: the same files give the same fingerprints on any machine, which makes parts reusable.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sparktorch_assets.lake.cut.file_pieces import FilePieces
from sparktorch_assets.lake.cut.piece import Piece
from sparktorch_assets.lake.cut.row_groups import cut_row_groups
from sparktorch_assets.lake.cut.small_files import SmallFiles, joined
from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.files.partition_values import Partition
from sparktorch_assets.lake.parquet.footers import Footer
from sparktorch_assets.lake.parts.file import part_path
from sparktorch_assets.lake.scope import Scope, ScopeIndex

TARGET_ROWS = 500_000
TARGET_BYTES = 128 << 20
"""Target sizes of a shard, in rows and uncompressed bytes. A shard ends at the first row group with which it reaches
either."""
_FORMAT = 2
_CUT_FORMAT = 3
"""Versions of the parts' content: of shards that are whole row groups of one file, and of all others. Increment both
when parts change in a way that no digest covers (this library's arithmetic, the layout of parts)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """Rows that are scored together, and the fingerprint that names their part: some row groups of one file, some rows
    of a large row group, or several small files."""

    fingerprint: str
    pieces: tuple[Piece, ...]
    """What the shard consists of, in the order of the rows; only small files share a shard."""
    partition: Partition = ()
    """Partition values of the output table."""

    @property
    def rows(self) -> int:
        """Number of rows, without those that the table deleted."""
        return sum(piece.rows for piece in self.pieces)

    @property
    def bytes(self) -> int:
        """Uncompressed size."""
        return sum(piece.bytes for piece in self.pieces)

    @property
    def part_path(self) -> str:
        """The path of the shard's part, relative to the output table."""
        return part_path(self.fingerprint, self.partition)

    @property
    def place(self) -> tuple[str, int, int]:
        """Where the shard begins, to sort by: path, row group, row within it."""
        first = self.pieces[0]
        return first.file.path, first.first_group, 0 if first.row_range is None else first.row_range[0]

    def __str__(self) -> str:
        more = len(self.pieces) - 1
        return str(self.pieces[0]) + (f", and {more:,} more small files" if more else "")


def make_shards(
    files: Sequence[DataFile],
    footers: Sequence[Footer],
    scopes: ScopeIndex,
    *,
    target_rows: int = TARGET_ROWS,
    target_bytes: int = TARGET_BYTES,
    shard_rows: int | None = None,
) -> dict[Partition, list[Shard]]:
    """The shards of each scope (by its partition), in the order of the files' paths. Files without rows give no shards,
    nor do row groups that cannot match.

    Args:
        files: the input's files.
        footers: their footers, in the same order.
        scopes: what the refresh covers.
        target_rows: see `TARGET_ROWS`.
        target_bytes: see `TARGET_BYTES`.
        shard_rows: number of rows that a shard should have at most, for a model that takes long for a row. Row groups
            of at least twice this many are split. `None`: `target_rows` alone counts, and row groups are never split.
    """
    target_rows = target_rows if shard_rows is None else min(target_rows, shard_rows)
    small_files = SmallFiles.below(target_rows, target_bytes)
    pieces: dict[Partition, tuple[Scope, list[tuple[Piece, bool]]]] = {}
    for file, footer in sorted(zip(files, footers, strict=True), key=lambda pair: pair[0].path):
        is_small = small_files.include(footer)
        ranges = cut_row_groups(
            footer.row_groups, target_rows=target_rows, target_bytes=target_bytes, shard_rows=shard_rows
        )
        cut = FilePieces(file, footer, tuple(ranges))
        for scope in scopes.scopes_of(file):
            _, found = pieces.setdefault(scope.partition, (scope, []))
            found.extend((piece, is_small) for piece in cut.within(scope))
    return {
        partition: [
            Shard(fingerprint=_fingerprint(scope, together), pieces=together, partition=partition)
            for together in joined(found, small_files)
        ]
        for partition, (scope, found) in pieces.items()
    }


def _fingerprint(scope: Scope, pieces: tuple[Piece, ...]) -> str:
    """A hash of all that the shard's rows depend on."""
    first = pieces[0]
    if len(pieces) == 1 and first.row_range is None:
        identity = json.dumps([_FORMAT, scope.digest, *_identity(first)])
        content = f"{identity}{first.first_group}:{first.end_group}".encode() + first.deleted
    else:
        rows = [
            [*_identity(piece), piece.first_group, piece.end_group, piece.row_range, piece.deleted.hex()]
            for piece in pieces
        ]
        content = json.dumps([_CUT_FORMAT, scope.digest, rows]).encode()
    return hashlib.sha256(content).hexdigest()[:32]


def _identity(piece: Piece) -> list[Any]:
    file = piece.file
    return [file.path, file.size_bytes, file.modified_ms, file.partition, piece.footer_digest]

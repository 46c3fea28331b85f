"""Joins small files with their neighbours, so that thousands of them do not become as many shards and parts.

Where one shard ends and the next begins is decided by the files themselves, each for itself: a shard ends after a file
whose path has a hash below a threshold. A file that is added, removed or rewritten therefore changes the shard that it
is in and, if it ends one, the one after it; all others stay as they are, wherever its name sorts. (To end a shard after
every 64th file would change all shards behind a new file.)
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from sparktorch_assets.lake.cut.piece import Piece
from sparktorch_assets.lake.parquet.footers import Footer

FILES = 64
ROWS = 4_000
BYTES = 4 << 20
"""What a shard of small files has on average, at most: so many files, rows and uncompressed bytes. It is what a new
small file costs, since its neighbours are scored again."""
_CAP = 4
"""A shard that reaches this many times the average ends, whatever the hashes say; about one of fifty (`exp(-4)`) does.
The shards between it and the next file that ends one then depend on their neighbours."""
_SMALL = 4
"""This many small files or more are an average shard; a file of more than its share has a shard of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SmallFiles:
    """Which files are joined, and after which of them a shard ends."""

    rows: int
    bytes: int
    """What a shard of small files has on average, at most."""

    @classmethod
    def below(cls, target_rows: int, target_bytes: int) -> Self:
        """Small files of a table whose shards should not have more rows and bytes than these."""
        return cls(rows=min(ROWS, target_rows // _CAP), bytes=min(BYTES, target_bytes // _CAP))

    def include(self, footer: Footer) -> bool:
        """Whether a file is small: at most a quarter of the rows and bytes of an average shard."""
        size = sum(group.bytes for group in footer.row_groups)
        return footer.rows <= self.rows // _SMALL and size <= self.bytes // _SMALL

    def end_after(self, piece: Piece, fullness: float) -> bool:
        """Whether a shard of small files ends after this one, with which it has that fullness."""
        return fullness >= _CAP or hash_of_path(piece.file.path) < self.weight(piece)

    def weight(self, piece: Piece) -> float:
        """The file's share of an average shard, which is also the share of such files after which a shard ends."""
        return max(1 / FILES, piece.rows / self.rows, piece.bytes / self.bytes)


def joined(pieces: Iterable[tuple[Piece, bool]], small_files: SmallFiles) -> Iterator[tuple[Piece, ...]]:
    """The pieces of each shard.

    Args:
        pieces: all pieces in the order of the files' paths, and whether the file of each is small.
        small_files: where shards end.
    """
    together: list[Piece] = []
    fullness = 0.0
    for piece, is_small in pieces:
        if together and not is_small:
            yield tuple(together)
            together, fullness = [], 0.0
        together.append(piece)
        if is_small:
            fullness += small_files.weight(piece)
        if not is_small or small_files.end_after(piece, fullness):
            yield tuple(together)
            together, fullness = [], 0.0
    if together:
        yield tuple(together)


def hash_of_path(path: str) -> float:
    """A number from 0 to 1 that depends on the path alone."""
    digest = hashlib.sha256(path.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / (1 << 48)

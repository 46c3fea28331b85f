"""Joins small files with their neighbours, so that thousands of them do not become as many shards and parts.

Where one shard ends and the next begins is decided by the files themselves, each for itself: a shard ends after a file
whose path has a hash below a threshold. A file that is added, removed or rewritten therefore changes the shard that it
is in and, if it ends one, the one after it; all others stay as they are, wherever its name sorts. (To end a shard after
every 64th file would change all shards behind a new file.)
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sparktorch_assets.lake.cut.piece import Piece
from sparktorch_assets.lake.parquet.footers import Footer

SMALL_ROWS = 1_000
SMALL_BYTES = 1 << 20
"""A file of more rows or uncompressed bytes has a shard of its own."""
FILES = 64
"""Number of small files that a shard has on average."""
_CAP = 4
"""A shard that reaches this many times the average ends, whatever the hashes say; about one of fifty (`exp(-4)`) does.
The shards between it and the next file that ends one then depend on their neighbours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SmallFiles:
    """Which files are joined, and after which of them a shard ends."""

    target_rows: int
    target_bytes: int
    """The size that a shard should not exceed."""

    def include(self, footer: Footer) -> bool:
        """Whether a file is small: at most `SMALL_ROWS`, `SMALL_BYTES` and a sixteenth of a shard."""
        return footer.rows <= min(SMALL_ROWS, self.target_rows // 16) and sum(
            group.bytes for group in footer.row_groups
        ) <= min(SMALL_BYTES, self.target_bytes // 16)

    def end_after(self, pieces: Sequence[Piece]) -> bool:
        """Whether the shard of these small files ends here."""
        rows, size = sum(piece.rows for piece in pieces), sum(piece.bytes for piece in pieces)
        is_full = len(pieces) >= _CAP * FILES or rows >= self.target_rows or size >= self.target_bytes
        return is_full or _place(pieces[-1].file.path) < self._share(pieces[-1])

    def _share(self, piece: Piece) -> float:
        """The share of such files after which a shard ends: one of 64, or so many that a shard has a quarter of the
        target on average."""
        return max(1 / FILES, _CAP * piece.rows / self.target_rows, _CAP * piece.bytes / self.target_bytes)


def joined(pieces: Iterable[tuple[Piece, bool]], small_files: SmallFiles) -> Iterator[tuple[Piece, ...]]:
    """The pieces of each shard.

    Args:
        pieces: all pieces in the order of the files' paths, and whether the file of each is small.
        small_files: where shards end.
    """
    together: list[Piece] = []
    for piece, is_small in pieces:
        if together and not is_small:
            yield tuple(together)
            together = []
        together.append(piece)
        if not is_small or small_files.end_after(together):
            yield tuple(together)
            together = []
    if together:
        yield tuple(together)


def _place(path: str) -> float:
    """A number from 0 to 1 that depends on the path alone."""
    digest = hashlib.sha256(path.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / (1 << 48)

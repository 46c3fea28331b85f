"""What a shard consists of: rows of one file that are read one after the other."""

from dataclasses import dataclass

from sparktorch_assets.file_identity import FileIdentity
from sparktorch_assets.lake.files.data_file import DataFile


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Row groups `first_group` to `end_group` (exclusive) of one file, or some rows of a single row group."""

    file: DataFile
    first_group: int
    end_group: int
    row_range: tuple[int, int] | None = None
    """The first row and the end (exclusive), counted within the row group; `None` for whole row groups."""
    rows: int
    """Number of rows, without those that the table deleted."""
    deleted: bytes = b""
    """The rows of the piece that the table deleted: one bit per row, lowest bit first; empty for none."""
    bytes: int
    """Uncompressed size; for some rows of a row group, their share of its size."""
    footer_digest: str
    seen: FileIdentity
    """The file's identity when it was planned; it must be the same when it is read."""

    def __str__(self) -> str:
        if self.row_range is None:
            return f"{self.file.uri}, row groups {self.first_group} to {self.end_group - 1}"
        first, end = self.row_range
        return f"{self.file.uri}, rows {first:,} to {end - 1:,} of row group {self.first_group}"

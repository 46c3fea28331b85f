"""Reads Parquet footers (rows and bytes of every row group) in parallel, and caches them by file identity.

The cached data depend only on the file. A run's conditions (a partition's rows) are applied afterwards, so that the
runs of all partitions together read each footer once.
"""

import hashlib
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from sparktorch_assets.errors import TableError
from sparktorch_assets.file_identity import FileIdentity
from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.files.folder import READ_THREADS, Folder
from sparktorch_assets.lake.parquet.footer_memory import FooterMemory
from sparktorch_assets.lake.parquet.stored_schema import stored_schema


@dataclass(frozen=True, kw_only=True, slots=True)
class RowGroup:
    """The size of one row group."""

    rows: int
    bytes: int
    """Uncompressed size of all columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Footer:
    """The data of one file's footer that planning needs."""

    digest: str
    """A hash of the footer's bytes: offsets, sizes and statistics. It differs for most rewritten files, even if size
    and modification time are the same, but may be the same for rows in another order."""
    seen: FileIdentity
    """The file's identity when its footer was read."""
    schema: pa.Schema
    row_groups: tuple[RowGroup, ...]
    packed: bytes
    """The compressed footer itself, which contains the bounds of all columns."""

    @property
    def rows(self) -> int:
        """Number of rows in the file."""
        return sum(group.rows for group in self.row_groups)

    def metadata(self) -> pq.FileMetaData:
        """The complete footer, decoded on every call."""
        return pq.read_metadata(pa.BufferReader(zlib.decompress(self.packed)))


_SMALL_BYTES = 4096
"""Approximate size of a footer's schema and row groups in memory, in addition to its packed bytes."""
_FEW_FILES = 256
_memory: FooterMemory[Footer] = FooterMemory(128 << 20)


def read_footers(files: Sequence[DataFile]) -> list[Footer]:
    """The files' footers, in the same order.

    Raises:
        TableError: a file is missing, or is not a Parquet file.
    """
    found: dict[str, Footer | None] = {}
    if len(files) <= _FEW_FILES:  # checking a few local files takes less time than starting threads
        found = {file.uri: _remembered(file.uri) for file in files if Folder(file.uri).is_local}
    missing = [file.uri for file in files if found.get(file.uri) is None]
    if missing:
        with ThreadPoolExecutor(READ_THREADS) as pool:
            found |= zip(missing, pool.map(_footer, missing), strict=True)
    return [cast(Footer, found[file.uri]) for file in files]


def footer_bytes(source: Any) -> bytes:
    """The last bytes of an open Parquet file: its footer, the footer's length and the magic bytes.

    Raises:
        ArrowInvalid: it is not a Parquet file.
    """
    size = source.size()
    source.seek(max(size - 8, 0))
    tail = source.read(8)
    if len(tail) < 8 or tail[4:] != b"PAR1":
        raise pa.ArrowInvalid("it does not end like a Parquet file")
    length = int.from_bytes(tail[:4], "little")
    source.seek(max(size - 8 - length, 0))
    return bytes(source.read(length) + tail)


def footer_digest(raw: bytes) -> str:
    """A hash of the bytes that `footer_bytes` returned."""
    return hashlib.sha256(raw).hexdigest()[:32]


def _remembered(uri: str) -> Footer | None:
    found = _memory.get(uri)
    return found if found is not None and found.seen == Folder(uri).identity() else None


def _footer(uri: str) -> Footer:
    found = _remembered(uri)
    if found is None:
        found = _read(uri, Folder(uri).identity())
        _memory.put(uri, found, _SMALL_BYTES + len(found.packed))
    return found


def _read(uri: str, seen: FileIdentity | None) -> Footer:
    try:
        if seen is None:
            raise FileNotFoundError(uri)
        with Folder(uri).open_input() as source:
            raw = footer_bytes(source)
        metadata = pq.read_metadata(pa.BufferReader(raw))
        if Folder(uri).identity() != seen:
            raise OSError("it was changed while its footer was read")
    except (OSError, pa.ArrowException) as error:
        raise TableError(
            f"cannot read the footer of {uri!r}: {error}; the table lists a file that is missing or broken"
        ) from error
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    return Footer(
        digest=footer_digest(raw),
        seen=seen,
        schema=stored_schema(metadata),
        row_groups=tuple(RowGroup(rows=group.num_rows, bytes=group.total_byte_size) for group in groups),
        packed=zlib.compress(raw, 1),
    )

"""Parquet footers: rows and bytes of every row group, read in parallel and remembered by file identity.

What is remembered is the file's alone. What a run asks for (a partition's rows) is applied to it afterwards, so that the
runs of all partitions read each footer once.
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
from sparktorch_assets.lake.data_files import DataFile
from sparktorch_assets.lake.folder import Folder
from sparktorch_assets.lake.parquet.footer_memory import FooterMemory
from sparktorch_assets.lake.parquet.stored_schema import stored_schema
from sparktorch_assets.lake.parts.file import READ_THREADS
from sparktorch_assets.tasks.files.file_identity import FileIdentity


@dataclass(frozen=True, kw_only=True, slots=True)
class RowGroup:
    """One row group."""

    rows: int
    bytes: int
    """Uncompressed bytes of all its columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Footer:
    """What planning needs of one file's footer."""

    digest: str
    """A hash of the footer's own bytes: offsets, sizes and statistics. It tells most rewritten files apart even where size
    and modification time agree. Rows in another order can leave it as it is."""
    seen: FileIdentity
    """The file as it was when its footer was read."""
    schema: pa.Schema
    row_groups: tuple[RowGroup, ...]
    packed: bytes
    """The footer itself, compressed: the bounds of all columns are in it."""

    @property
    def rows(self) -> int:
        """Rows in the file."""
        return sum(group.rows for group in self.row_groups)

    def metadata(self) -> pq.FileMetaData:
        """All that the footer holds, decoded anew."""
        return pq.read_metadata(pa.BufferReader(zlib.decompress(self.packed)))


_SMALL_BYTES = 4096
"""About what the schema and the row groups of a footer take, beside its packed bytes."""
_FEW_FILES = 256
_memory: FooterMemory[Footer] = FooterMemory(128 << 20)


def read_footers(files: Sequence[DataFile]) -> list[Footer]:
    """The files' footers, in the same order.

    Raises:
        TableError: a file is missing, or is no Parquet file.
    """
    found: dict[str, Footer | None] = {}
    if len(files) <= _FEW_FILES:  # to look at a few local files takes less time than to start threads
        found = {file.uri: _remembered(file.uri) for file in files if Folder(file.uri).is_local}
    missing = [file.uri for file in files if found.get(file.uri) is None]
    if missing:
        with ThreadPoolExecutor(READ_THREADS) as pool:
            found |= zip(missing, pool.map(_footer, missing), strict=True)
    return [cast(Footer, found[file.uri]) for file in files]


def footer_bytes(source: Any) -> bytes:
    """The last bytes of an open Parquet file: its footer, the footer's length and the magic bytes.

    Raises:
        ArrowInvalid: it is no Parquet file.
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
    """A hash of what `footer_bytes` gave."""
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
            f"cannot read the footer of {uri!r}: {error}; the table lists a file that is gone or broken"
        ) from error
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    return Footer(
        digest=footer_digest(raw),
        seen=seen,
        schema=stored_schema(metadata),
        row_groups=tuple(RowGroup(rows=group.num_rows, bytes=group.total_byte_size) for group in groups),
        packed=zlib.compress(raw, 1),
    )

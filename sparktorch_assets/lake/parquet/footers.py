"""Reads Parquet footers (rows and bytes of every row group) in parallel, and caches them by file identity.

The cached data depend only on the file. A run's conditions (a partition's rows) are applied afterwards, so that the
runs of all partitions together read each footer once.

A local file is looked at before and after its footer is read, and again whenever the footer is taken from the cache.
What is in a store is taken to be as it was listed: asking again would cost as much as reading.
"""

import hashlib
import itertools
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.exceptions import DeltaError

from sparktorch_assets.errors import TableError
from sparktorch_assets.file_identity import FileIdentity, file_identity, object_identity
from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.files.folder import Folder, local_path, read_threads
from sparktorch_assets.lake.files.object_reader import ObjectReader
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
    """The compressed footer itself, which contains the bounds of all columns; empty if it was read without them: by an
    earlier run that did not keep them, or with very many others."""

    @property
    def rows(self) -> int:
        """Number of rows in the file."""
        return sum(group.rows for group in self.row_groups)

    @property
    def held_bytes(self) -> int:
        """Approximate size in memory, without the schema, which the files of a table mostly share."""
        return 512 + 128 * len(self.row_groups) + len(self.packed)

    def metadata(self) -> pq.FileMetaData:
        """The complete footer, decoded on every call; for footers that were read with their bounds."""
        return pq.read_metadata(pa.BufferReader(zlib.decompress(self.packed)))


TAIL_BYTES = 64 << 10
"""How much is read at once of a file's end. A footer that is longer takes a second read."""
_FEW_FILES = 256
_MANY_FILES = 20_000
"""Of more files than this, bounds are kept only if they are asked for: to compress them takes a tenth of the time, and they
take most of the memory."""
_YOUNG_SECONDS = 5
"""The footer of an object that was written this recently is not remembered: stores list times in seconds, so that another
one of the same size may follow it with the same time. Clocks may differ by some seconds."""
_CHUNKS_PER_THREAD = 8
"""Local files are given to threads in about so many chunks each: to hand over a single file takes longer than to look
whether it has changed."""
_memory: FooterMemory[Footer] = FooterMemory(128 << 20, most_bytes=1 << 30)
"""For a table of 20,000 files with 50 columns and a row group each, about 100 MB; for a million files, 640 MB."""


def read_footers(files: Sequence[DataFile], *, bounds: bool = False) -> list[Footer]:
    """The files' footers, in the same order.

    Args:
        files: the files. Those in a store are taken to have the size with which they are listed here.
        bounds: whether the bounds of the columns are needed, that is, `Footer.metadata`.

    Raises:
        TableError: a file is missing, or is not a Parquet file.
    """
    few = len(files) <= _FEW_FILES  # checking a few local files takes less time than starting threads
    found = {file.uri: _remembered(file, bounds=bounds) for file in files if few or local_path(file.uri) is None}
    missing = [file for file in files if found.get(file.uri) is None]
    settled = [file for file in missing if _is_settled(file)]
    if missing:
        objects = ObjectReader(missing)
        is_local = all(local_path(file.uri) is not None for file in missing)
        threads = read_threads(is_local=is_local)
        each = -(-len(missing) // (_CHUNKS_PER_THREAD * threads)) if is_local else 1
        chunks = [missing[start : start + each] for start in range(0, len(missing), each)]
        packs = bounds or len(files) <= _MANY_FILES
        with ThreadPoolExecutor(threads) as pool:
            footers = pool.map(
                lambda chunk: [_remembered(file, bounds=bounds) or _read(file, objects, packs=packs) for file in chunk],
                chunks,
            )
            read = _sharing_schemas(itertools.chain.from_iterable(footers))
            found |= zip((file.uri for file in missing), read, strict=True)
    footers_in_order = [cast(Footer, found[file.uri]) for file in files]
    _memory.reserve(sum(footer.held_bytes for footer in footers_in_order))
    remember((file, cast(Footer, found[file.uri])) for file in settled)
    return footers_in_order


def remember(footers: Iterable[tuple[DataFile, Footer]]) -> None:
    """Keep footers in memory, for plans to come."""
    found = [*footers]
    _memory.reserve(sum(footer.held_bytes for _, footer in found))
    for (file, _), footer in zip(found, _sharing_schemas(footer for _, footer in found), strict=True):
        if footer is not remembered(file):
            _memory.put(file.uri, footer, footer.held_bytes)


def _sharing_schemas(footers: Iterable[Footer]) -> Iterator[Footer]:
    """The footers; neighbours with equal columns share one object, which takes more memory than all the rest."""
    schema: pa.Schema | None = None
    for footer in footers:
        if schema is None or not (footer.schema is schema or footer.schema.equals(schema)):
            schema = footer.schema
        yield footer if footer.schema is schema else replace(footer, schema=schema)


def remembered(file: DataFile) -> Footer | None:
    """The file's footer as it is kept in memory, which may be that of another file that had its name before."""
    return _memory.get(file.uri)


def footer_bytes(source: Any) -> bytes:
    """The last bytes of an open Parquet file: its footer, the footer's length and the magic bytes.

    Raises:
        ArrowInvalid: it is not a Parquet file.
    """
    size = source.size()
    source.seek(max(size - TAIL_BYTES, 0))
    tail = bytes(source.read(min(size, TAIL_BYTES)))
    if len(tail) < 8 or tail[-4:] != b"PAR1":
        raise pa.ArrowInvalid("it does not end like a Parquet file")
    length = min(int.from_bytes(tail[-8:-4], "little") + 8, size)
    if length > len(tail):
        source.seek(size - length)
        tail = bytes(source.read(length - len(tail))) + tail
    return tail[-length:]


def footer_digest(raw: bytes) -> str:
    """A hash of the bytes that `footer_bytes` returned."""
    return hashlib.sha256(raw).hexdigest()[:32]


def _identity(file: DataFile) -> FileIdentity | None:
    """What distinguishes the file from another one of its name: for a local file, what the disk says now; for one in a
    store, what it is listed with. The time in a Delta log is that of the writer's clock, which the store does not know;
    it tells the files apart if a table is deleted, and written again with the same names.
    """
    path = local_path(file.uri)
    if path is not None:
        return file_identity(path)
    time_ns = file.modified_ms * 1_000_000
    if file.logged_path:
        return object_identity(file.size_bytes, None, logged_ns=time_ns)
    return object_identity(file.size_bytes, time_ns)


def _is_settled(file: DataFile) -> bool:
    """Whether the file will have another identity if it is written again from now on."""
    if local_path(file.uri) is not None or file.logged_path:
        return True
    return time.time() - file.modified_ms / 1_000 > _YOUNG_SECONDS


def _remembered(file: DataFile, *, bounds: bool) -> Footer | None:
    found = _memory.get(file.uri)
    if found is None or (bounds and not found.packed):
        return None
    return found if found.seen == _identity(file) else None


def _read(file: DataFile, objects: ObjectReader, *, packs: bool) -> Footer:
    try:
        seen = _identity(file)
        if seen is None:
            raise FileNotFoundError(file.uri)
        raw = _object_tail(file, objects)
        if raw is None:
            with Folder(file.uri).open_input() as source:
                raw = footer_bytes(source)
        metadata = pq.read_metadata(pa.BufferReader(raw))
        if _identity(file) != seen:
            raise OSError("it was changed while its footer was read")
    except (OSError, pa.ArrowException) as error:
        raise TableError(
            f"cannot read the footer of {file.uri!r}: {error}; the table lists a file that is missing or broken"
        ) from error
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    return Footer(
        digest=footer_digest(raw),
        seen=seen,
        schema=stored_schema(metadata),
        row_groups=tuple(RowGroup(rows=group.num_rows, bytes=group.total_byte_size) for group in groups),
        packed=zlib.compress(raw, 1) if packs else b"",
    )


def _object_tail(file: DataFile, objects: ObjectReader) -> bytes | None:
    """The footer of a file in a store; `None` if it has to be opened with its size asked for."""
    try:
        source = objects.open(file.uri)
        return None if source is None else footer_bytes(source)
    except (OSError, pa.ArrowException, DeltaError):  # it may have another size than it was listed with
        return None

"""Footers as bytes: an Arrow table behind a checksum. Nothing that is read from it can run code."""

import hashlib
import itertools
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa

from sparktorch_assets.file_identity import FileIdentity
from sparktorch_assets.lake.parquet.footers import Footer, RowGroup

_MAGIC = b"sparktorch_assets footers 2\n"
_HASH_BYTES = hashlib.sha256().digest_size
_HEAD_BYTES = len(_MAGIC) + _HASH_BYTES
"""So many bytes at the beginning tell which footers follow; then come the checksum and the table."""
_BATCH_FILES = 1 << 16
"""A million footers are turned into columns, and back, so many at a time."""
_SEEN = struct.Struct("<QQqqqq")
_SCHEMA = pa.schema(
    [
        ("name", pa.binary(_HASH_BYTES)),
        ("host", pa.dictionary(pa.int32(), pa.string())),
        ("device", pa.uint64()),
        ("inode", pa.uint64()),
        ("changed_ns", pa.int64()),
        ("size_bytes", pa.int64()),
        ("modified_ns", pa.int64()),
        ("digest", pa.string()),
        ("columns", pa.dictionary(pa.int32(), pa.binary())),
        ("group_rows", pa.list_(pa.int64())),
        ("group_bytes", pa.list_(pa.int64())),
        ("packed", pa.binary()),
    ]
)


def name_of(uri: str) -> bytes:
    """What stands for a file's address: its hash, since an address may hold values of partitions."""
    return hashlib.sha256(uri.encode(errors="surrogatepass")).digest()


def holds(content: bytes, footers: Mapping[bytes, Footer]) -> bool:
    """Whether the content is what `packed_footers` made of these footers, undamaged."""
    return content.startswith(_head(footers)) and _is_whole(content)


def _head(footers: Mapping[bytes, Footer]) -> bytes:
    digest = hashlib.sha256()
    for name, footer in footers.items():
        seen = footer.seen
        numbers = _SEEN.pack(
            seen.device, seen.inode, seen.changed_ns, seen.size_bytes, seen.modified_ns, len(footer.packed)
        )
        digest.update(name + numbers + f"{seen.host}\0{footer.digest}".encode())
    return _MAGIC + digest.digest()


def packed_footers(footers: Mapping[bytes, Footer]) -> bytes:
    """The footers as bytes.

    Args:
        footers: name of the file, by `name_of` -> footer.
    """
    left, types = iter(footers.items()), [field.type for field in _SCHEMA]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _SCHEMA, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        while some := list(itertools.islice(left, _BATCH_FILES)):
            columns = list(map(pa.array, _cells(some), types))
            writer.write(pa.RecordBatch.from_arrays(columns, schema=_SCHEMA))
    body: bytes = sink.getvalue().to_pybytes()
    return _head(footers) + hashlib.sha256(body).digest() + body


def unpacked_footers(content: bytes) -> Iterator[tuple[bytes, Footer]]:
    """The names and footers.

    Raises:
        ValueError: the content is damaged, or something else. (The errors of Arrow are also of this kind.)
    """
    if not _is_whole(content):
        raise ValueError("it is damaged, or holds something else")
    schemas: dict[bytes, pa.Schema] = {}
    for batch in pa.ipc.open_stream(memoryview(content)[_HEAD_BYTES + _HASH_BYTES :]):
        batch.validate(full=True)
        if batch.schema != _SCHEMA or any(column.null_count for column in batch.columns):
            raise ValueError("it has other columns")
        cells = (column.to_pylist() for column in batch.columns)
        for name, host, *seen, digest, columns, rows, sizes, packed in zip(*cells, strict=True):
            if columns not in schemas:
                schemas[columns] = pa.ipc.read_schema(pa.BufferReader(columns))
            yield (
                name,
                Footer(
                    digest=digest,
                    seen=FileIdentity(sys.intern(host), *seen),
                    schema=schemas[columns],
                    row_groups=tuple(RowGroup(rows=count, bytes=size) for count, size in zip(rows, sizes, strict=True)),
                    packed=packed,
                ),
            )


def _is_whole(content: bytes) -> bool:
    checksum, body = content[_HEAD_BYTES:][:_HASH_BYTES], content[_HEAD_BYTES + _HASH_BYTES :]
    return content.startswith(_MAGIC) and hashlib.sha256(body).digest() == checksum


def _cells(footers: Sequence[tuple[bytes, Footer]]) -> Iterable[list[object]]:
    """The columns of `_SCHEMA`."""
    schemas: dict[int, bytes] = {}
    for _, footer in footers:
        if id(footer.schema) not in schemas:
            schemas[id(footer.schema)] = footer.schema.serialize().to_pybytes()
    rows = (
        (
            name,
            footer.seen.host,
            footer.seen.device,
            footer.seen.inode,
            footer.seen.changed_ns,
            footer.seen.size_bytes,
            footer.seen.modified_ns,
            footer.digest,
            schemas[id(footer.schema)],
            [group.rows for group in footer.row_groups],
            [group.bytes for group in footer.row_groups],
            footer.packed,
        )
        for name, footer in footers
    )
    return map(list, zip(*rows, strict=True))

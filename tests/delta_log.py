"""Delta tables whose logs are written by hand: what other writers do, and delta-rs does not."""

import json
import struct
import uuid
import zlib
from pathlib import Path

import pyarrow.parquet as pq

_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_BITMAP_ARRAY, _BITMAP = 1681511377, 12346  # magic numbers of Delta's portable form and of a Roaring bitmap


def column(name, kind, **metadata):
    """One field of a schema in Delta's JSON."""
    return {"name": name, "type": kind, "nullable": True, "metadata": metadata}


def add(path, rows, **more):
    """An add action for a file of that many rows. `size` has to be given."""
    return {
        "path": path,
        "partitionValues": {},
        "modificationTime": 1_700_000_000_000,
        "dataChange": True,
        "stats": json.dumps({"numRecords": rows}),
        **more,
    }


def put_file(table, name, rows, *, at=None, row_group_size=None):
    """Write a Parquet file below the table (or `at` another folder), and give its add action."""
    path = Path(at or table) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path, row_group_size=row_group_size)
    return add(name, rows.num_rows, size=path.stat().st_size)


def write_log(table, columns, adds, *, version=0, features=(), reader=3, properties=None, partition_by=()):
    """Version `version` of a table, as its only commit, or as one that takes the place of all before it."""
    protocol = {"minReaderVersion": reader, "minWriterVersion": 7 if reader == 3 else 2 if reader == 1 else 5}
    if reader == 3:
        protocol |= {"readerFeatures": list(features), "writerFeatures": list(features)}
    metadata = {
        "id": "11111111-1111-1111-1111-111111111111",
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps({"type": "struct", "fields": list(columns)}),
        "partitionColumns": list(partition_by),
        "configuration": dict(properties or {}),
        "createdTime": 0,
    }
    log = Path(table) / "_delta_log"
    log.mkdir(parents=True, exist_ok=True)
    actions = [{"protocol": protocol}, {"metaData": metadata}, *({"add": action} for action in adds)]
    (log / f"{version:020}.json").write_text("\n".join(json.dumps(action) for action in actions))


def inline_vector(deleted):
    """A deletion vector that stands in the log itself."""
    bits = _bitmap_array(deleted)
    padded = bits + b"\0" * (-len(bits) % 4)
    return _vector("i", _z85(padded), len(bits), deleted)


def file_vector(table, deleted, *, prefix="", absolute=False):
    """A deletion vector in a file below the table, named by its number or by its full URI."""
    bits, number = _bitmap_array(deleted), uuid.uuid4()
    path = Path(table) / prefix / f"deletion_vector_{number}.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\1" + struct.pack(">i", len(bits)) + bits + struct.pack(">I", zlib.crc32(bits)))
    kind, where = ("p", path.as_uri()) if absolute else ("u", prefix + _z85(number.bytes))
    return _vector(kind, where, len(bits), deleted) | {"offset": 1}


def _vector(kind, where, size, deleted):
    return {"storageType": kind, "pathOrInlineDv": where, "sizeInBytes": size, "cardinality": len(deleted)}


def _bitmap_array(rows):
    return struct.pack("<iQI", _BITMAP_ARRAY, 1, 0) + _bitmap(sorted(rows))


def _bitmap(rows):
    containers = {}
    for row in rows:
        containers.setdefault(row >> 16, []).append(row & 0xFFFF)
    head = struct.pack("<II", _BITMAP, len(containers))
    for key, values in containers.items():
        assert len(values) <= 4096  # larger ones have another form
        head += struct.pack("<HH", key, len(values) - 1)
    offset, offsets, body = len(head) + 4 * len(containers), b"", b""
    for values in containers.values():
        offsets += struct.pack("<I", offset + len(body))
        body += struct.pack(f"<{len(values)}H", *values)
    return head + offsets + body


def _z85(data):
    text = ""
    for at in range(0, len(data), 4):
        number, digits = int.from_bytes(data[at : at + 4], "big"), ""
        for _ in range(5):
            number, digit = divmod(number, 85)
            digits = _Z85[digit] + digits
        text += digits
    return text

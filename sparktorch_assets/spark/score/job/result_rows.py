"""Rows of a job's result: many finished shards in each, compressed. One shard each, in plain text, a million of them would not
fit into the JVM of Spark's driver, which collects them."""

import base64
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice

RESULT_SCHEMA = "result string"
_SHARDS_PER_ROW = 64


def packed_rows(lines: Iterable[str]) -> Iterator[str]:
    """The rows for these lines, which hold no line breaks. A row is complete when it is full, or when the lines end."""
    left = iter(lines)
    while some := list(islice(left, _SHARDS_PER_ROW)):
        yield base64.b64encode(zlib.compress("\n".join(some).encode(), 1)).decode()


def unpacked_lines(row: str) -> list[bytes]:
    """The lines of one row."""
    return zlib.decompress(base64.b64decode(row)).split(b"\n")

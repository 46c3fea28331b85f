"""Puts small record batches together: on its way to the model, each costs about as much as a thousand rows."""

from collections.abc import Iterable, Iterator

import pyarrow as pa

_ROWS = 1_024
_BYTES = 4 << 20


def joined_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in the same order, in record batches of at least 1,024 rows or 4 MiB, except for the last. A record
    batch that is not smaller than that comes alone, if none is waiting."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
        if rows >= _ROWS or size >= _BYTES:
            yield _concatenated(waiting)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield _concatenated(waiting)


def _concatenated(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)

"""Divides a table's rows by their keys into buckets, which are kept in files until they are compared.

Rows with equal keys of both tables are in the bucket of the same number, so that only one bucket of each table is in
memory at a time. Files hold nothing but the compared columns, and lie in a temporary folder.
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa

BUCKET_ROWS = 500_000
"""Rows per bucket, as long as that takes no more than `MOST_BUCKETS`."""
MOST_BUCKETS = 256
"""Each needs an open file while rows are divided."""


def bucket_count(rows: int) -> int:
    """The number of buckets for a table with that many rows."""
    return min(MOST_BUCKETS, 1 + rows // BUCKET_ROWS)


class Buckets:
    """The rows of one table. Use it as a context manager: leaving it ends the writing.

    Args:
        folder: a folder of its own for the files.
        count: the number of buckets.
        schema: the columns of the rows.
        keys: the columns whose values decide on the bucket.
    """

    def __init__(self, folder: Path, count: int, schema: pa.Schema, keys: Sequence[str]) -> None:
        folder.mkdir()
        self._keys = list(keys)
        self._paths = [folder / f"{bucket}.arrow" for bucket in range(count)]
        self._writers = [pa.ipc.new_file(str(path), schema) for path in self._paths]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._writers:
            writer.close()

    def add(self, rows: pa.RecordBatch) -> None:
        """Write each row to its bucket."""
        if len(self._writers) == 1:
            self._writers[0].write_batch(rows)
            return
        frame = rows.select(self._keys).to_pandas()
        hashes = pd.util.hash_pandas_object(frame, index=False).to_numpy() % len(self._writers)
        order = np.argsort(hashes, kind="stable")
        ends = np.searchsorted(hashes[order], np.arange(len(self._writers)), side="right")
        divided, start = rows.take(pa.array(order)), 0
        for writer, end in zip(self._writers, ends.tolist(), strict=True):
            if end > start:
                writer.write_batch(divided.slice(start, end - start))
            start = end

    def read(self, bucket: int) -> pa.Table:
        """The rows of one bucket, in the order in which they were added."""
        with pa.ipc.open_file(str(self._paths[bucket])) as reader:
            return reader.read_all()

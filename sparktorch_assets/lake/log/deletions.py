"""Rows that a table deleted without rewriting their file, as bits: one bit per row, lowest bit of each byte first."""

import numpy as np
import pyarrow as pa


def pack_rows(deleted: np.ndarray) -> bytes:
    """A mask as bits; empty if it marks no row."""
    return np.packbits(deleted, bitorder="little").tobytes() if deleted.any() else b""


def unpack_rows(bits: bytes, rows: int) -> np.ndarray:
    """The mask of `rows` rows; rows beyond the end of `bits` are not deleted."""
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=rows, bitorder="little").astype(bool)


class KeptRows:
    """Removes the deleted rows from consecutive batches."""

    def __init__(self, deleted: np.ndarray) -> None:
        """`deleted` is the mask of all rows of the batches; empty if no row is deleted."""
        self._kept, self._at = ~deleted, 0

    def of_next(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of the next batch that are not deleted."""
        if not len(self._kept):
            return batch
        kept = self._kept[self._at : self._at + batch.num_rows]
        self._at += batch.num_rows
        return batch if kept.all() else batch.filter(pa.array(kept))

"""Rows that a table deleted without rewriting their file, as bits: one a row, the lowest of each byte first."""

import numpy as np
import pyarrow as pa


def pack_rows(deleted: np.ndarray) -> bytes:
    """A mask as bits; empty where it marks no row."""
    return np.packbits(deleted, bitorder="little").tobytes() if deleted.any() else b""


def unpack_rows(bits: bytes, rows: int) -> np.ndarray:
    """The mask of that many rows; rows beyond the bits are not deleted."""
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=rows, bitorder="little").astype(bool)


class KeptRows:
    """Takes the deleted rows out of batches that come in the rows' order."""

    def __init__(self, deleted: np.ndarray) -> None:
        """`deleted`: the mask of all rows to come; an empty one where no row is deleted."""
        self._kept, self._at = ~deleted, 0

    def of_next(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The next batch's rows that are not deleted."""
        if not len(self._kept):
            return batch
        kept = self._kept[self._at : self._at + batch.num_rows]
        self._at += batch.num_rows
        return batch if kept.all() else batch.filter(pa.array(kept))

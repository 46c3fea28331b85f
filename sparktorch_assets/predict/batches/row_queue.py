"""A first-in, first-out queue of rows that arrive in batches of one size and leave in batches of another."""

from collections import deque

import pyarrow as pa

from sparktorch_assets.predict.failures import RowFailure

Failures = dict[int, RowFailure]


class RowQueue:
    """Record batches with their failures, joined and cut at any row without losing or reordering rows."""

    def __init__(self) -> None:
        self.rows = 0
        self._parts: deque[tuple[pa.RecordBatch, Failures]] = deque()

    def push(self, batch: pa.RecordBatch, failures: Failures) -> None:
        """Add rows at the end; the keys of `failures` are row numbers in `batch`."""
        if batch.num_rows:
            self._parts.append((batch, failures))
            self.rows += batch.num_rows

    def pop(self, rows: int) -> tuple[pa.RecordBatch, Failures]:
        """Take the first `rows` rows as one batch; they are copied only if they come from several batches."""
        assert 0 < rows <= self.rows
        taken: list[pa.RecordBatch] = []
        failures: Failures = {}
        missing = rows
        while missing:
            batch, failed = self._parts.popleft()
            start = rows - missing
            if batch.num_rows > missing:
                rest = {row - missing: failure for row, failure in failed.items() if row >= missing}
                self._parts.appendleft((batch.slice(missing), rest))
                batch, failed = batch.slice(0, missing), {row: f for row, f in failed.items() if row < missing}
            taken.append(batch)
            failures |= {start + row: failure for row, failure in failed.items()}
            missing -= batch.num_rows
        self.rows -= rows
        return join(taken), failures


def join(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """All rows as one batch; a column whose type differs between batches (one that a preprocessor made, with an
    inferred type) gets the wider type."""
    if len(batches) == 1:
        return batches[0]
    if all(batch.schema == batches[0].schema for batch in batches):
        return pa.concat_batches(batches)
    tables = [pa.Table.from_batches([batch]) for batch in batches]
    table = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    return table.to_batches()[0]

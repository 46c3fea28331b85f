"""Small record batches reach the model together, in their order; none is held back, and large ones are not copied."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparktorch_assets.lake.rows.joined_batches import joined_batches


@given(sizes=st.lists(st.integers(0, 50) | st.sampled_from([1_023, 1_024, 5_000]), max_size=200))
def test_the_rows_are_the_same_in_fewer_batches(sizes):
    rows = pa.record_batch({"x": range(sum(sizes))})
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    batches = [rows.slice(start, size) for start, size in zip(starts, sizes, strict=True)]
    found = list(joined_batches(batches))
    assert [x for batch in found for x in batch["x"].to_pylist()] == rows["x"].to_pylist()
    assert all(1_024 <= batch.num_rows < 1_024 + max(sizes) for batch in found[:-1])


@pytest.mark.parametrize("rows", [2_000, 4])
def test_a_batch_that_is_large_in_rows_or_bytes_comes_alone(rows):
    """Before anything of the next one has been read."""
    large = pa.record_batch({"x": [b"." * (2_000_000 if rows == 4 else 1)] * rows})

    def batches():
        yield large
        raise AssertionError("read ahead")

    assert next(joined_batches(batches())) is large

"""Packing: every row once, batches within their budgets, full but for the last."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparktorch_assets.predict.batches.packing import PackedBatches
from sparktorch_assets.predict.batches.sizer import BatchSizer
from sparktorch_assets.tasks import BatchPolicy


@given(st.integers(0, 50), st.integers(1, 9))
def test_rows_without_lengths_are_cut_in_order(rows, batch_size):
    """All batches are full but the last, and joined they are the input."""
    batches = list(PackedBatches(np.arange(rows), None, BatchSizer(BatchPolicy(batch_size=batch_size))))
    assert [row for batch in batches for row in batch] == list(range(rows))
    assert all(len(batch) == batch_size for batch in batches[:-1])


@pytest.mark.promise("M40")
@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 9), st.none() | st.integers(1, 100))
def test_lengths_are_packed_under_the_budget(lengths, batch_size, max_tokens):
    """Every row once; a batch of more than one row keeps to rows and padded tokens; none could take one row more."""
    lengths_N = np.array(lengths, dtype=np.int64)
    sizer = BatchSizer(BatchPolicy(batch_size=batch_size, max_tokens=max_tokens), has_lengths=True)
    batches = list(PackedBatches(np.arange(len(lengths)), lengths_N, sizer))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch, following in itertools.zip_longest(batches, batches[1:]):
        longest = max(int(lengths_N[batch].max()), 1)
        assert len(batch) <= batch_size
        assert len(batch) == 1 or max_tokens is None or len(batch) * longest <= max_tokens
        if following is not None:
            wider = max(int(lengths_N[following[0]]), 1) * (len(batch) + 1)
            assert len(batch) == batch_size or (max_tokens is not None and wider > max_tokens)

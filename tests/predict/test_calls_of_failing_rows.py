"""How often a network is called, and for how many rows, where some rows make their batch raise."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tasks import BatchPolicy, MlTask, ModelSpec, NumericFeature

CALLS: list[int] = []
"""The number of rows of each call."""
CHANGEABLE: list[bool] = []
"""Whether each call got the rows themselves, whose version shows changes, and not a copy."""
ROWS, BATCH = 4_096, 256


class Picky(torch.nn.Module):
    """Raises for negative numbers."""

    def forward(self, x):
        CALLS.append(len(x))
        CHANGEABLE.append(not x.is_inference() and x.untyped_storage().nbytes() > x.nbytes)
        if bool((x < 0).any()):
            raise ValueError("negative")
        return torch.cat([-x, x], dim=1)


def picky(_weights, _device):
    return Picky()


def failed_rows(tmp_path, bad):
    x = np.arange(1.0, ROWS + 1)
    x[list(bad)] *= -1
    task = MlTask(
        name="t",
        input="i",
        model=ModelSpec(factory="test_calls_of_failing_rows:picky"),
        features=[NumericFeature(columns=["x"])],
        labels=["small", "big"],
        batch=BatchPolicy(batch_size=BATCH),
        max_failed_share=1.0,
    )
    CALLS.clear()
    CHANGEABLE.clear()
    (found,) = predict_map(0, [pa.record_batch({"x": x})], task, model_loader=ModelLoader(tmp_path))
    errors = found.column("prediction_error").to_pylist()
    assert all(error is None or error == "forward: ValueError: negative" for error in errors)
    return [row for row, error in enumerate(errors) if error is not None]


@pytest.mark.promise("M240")
@pytest.mark.parametrize("offset", [0, 1, 100, 255])
def test_rows_behind_a_failing_one_take_no_call_of_their_own(tmp_path, offset):
    """A batch in about every fifth holds a bad row, each in the same place, as batches begin anew behind it."""
    bad = list(range(offset, ROWS, 4 * BATCH + offset + 1))
    assert failed_rows(tmp_path, bad) == bad
    assert BATCH - offset - 1 not in CALLS
    assert len(CALLS) <= ROWS // BATCH + 1 + 14 * len(bad)
    assert sum(CALLS) <= ROWS + len(bad) * 1.5 * BATCH


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_many_failing_rows_in_a_pinned_batch_are_not_tried_again_for_each_of_them(tmp_path, share):
    """Rows are put back once, and then searched to the end of their batch."""
    bad = np.flatnonzero(np.random.default_rng(0).random(ROWS) < share).tolist()
    assert failed_rows(tmp_path, bad) == bad
    assert sum(CALLS) <= ROWS * 2 * np.log2(BATCH)


@pytest.mark.promise("M241")
def test_a_callers_inference_mode_costs_no_copies(tmp_path):
    """Only the first batch is copied, to see that the network leaves its arguments unchanged."""
    with torch.inference_mode():
        assert failed_rows(tmp_path, []) == []
    assert CHANGEABLE == [False] + [True] * (ROWS // BATCH - 1)

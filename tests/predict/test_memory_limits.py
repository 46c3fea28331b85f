"""Sizes that memory bounds: they come down at once, and rise again as far as memory lets them, now and in the next run."""

import weakref
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparktorch_assets.predict.batches.memory_limits import FIRST_WAIT, GAP_DIVISOR, MemoryLimits
from sparktorch_assets.predict.batches.sizer import BatchSizer
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.model.cache import forget_models
from sparktorch_assets.predict.model.torch_model import TorchModel
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import BatchPolicy, MlTask, ModelSpec, NumericFeature


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path, monkeypatch):
    """What ran out of memory is remembered per host: not from one test to the next."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


class Room:
    """Memory for `fits` rows, and batches of `wanted` rows that are cut as `MemoryLimits` says."""

    def __init__(self, limits, wanted):
        self.limits, self.wanted = limits, wanted
        self.sizes, self.shortages = [], []

    def predict(self, batches, fits):
        for _ in range(batches):
            size = min(self.wanted, self.limits.max_rows(0))
            self.sizes.append(size)
            while size > fits:
                self.shortages.append(len(self.sizes))
                self.limits.out_of_memory(size, 0)
                size = max(1, size // 2)
            self.limits.fitted(size, 0, self.wanted)


@settings(max_examples=30)
@given(st.integers(1, 5_000), st.integers(1, 5_000))
def test_a_size_settles_just_below_what_fits(fits, wanted):
    """Not at the half that happened to fit: within a sixteenth of the size that does not, or of what is wanted."""
    room = Room(MemoryLimits(), wanted)
    room.predict(2_000, fits)
    most = min(fits, wanted)
    assert max(room.sizes[-100:]) >= most - max(1, most // GAP_DIVISOR)
    assert sorted(room.sizes)[len(room.sizes) // 2] >= most - max(1, most // GAP_DIVISOR)


@pytest.mark.promise("M45")
@settings(max_examples=30)
@given(st.integers(1, 5_000), st.integers(5_001, 9_000))
def test_tries_that_fail_come_further_and_further_apart(fits, wanted):
    """What can never fit is tried ever less often: the longer a run, the smaller the share of its batches that this costs."""
    room = Room(MemoryLimits(), wanted)
    room.predict(4_000, fits)
    descent = len([at for at in room.shortages if at == 1])
    tries = set(room.shortages) - {1}
    assert len(tries) <= np.log2(4_000 / FIRST_WAIT) + 1
    assert len(room.shortages) <= descent + len(tries)  # a try that fails costs one shortage: what fitted fits still


@pytest.mark.promise("M45")
@settings(max_examples=30)
@given(st.integers(64, 5_000), st.integers(1, 63), st.integers(1, 50))
def test_one_passing_shortage_does_not_bind_for_ever(wanted, left, batches):
    """When whatever took the memory has gone, the whole size comes back, and no bound is left."""
    room = Room(MemoryLimits(), wanted)
    room.predict(10, wanted)
    room.predict(batches, left)
    room.predict(2_000, wanted)
    assert room.sizes[-1] == wanted
    assert room.limits.known == {}


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 300), st.booleans()), max_size=60),
    st.integers(0, 6),
)
def test_a_bound_is_never_below_a_row_and_binds_longer_rows_too(events, bucket):
    """Whatever happens in whatever order."""
    limits = MemoryLimits({2: 50})
    for power, rows, fits in events:
        if fits:
            limits.fitted(min(rows, limits.max_rows(1 << power)), 1 << power, rows)
        elif rows > 1:
            limits.out_of_memory(rows, 1 << power)
            assert limits.max_rows(1 << power) < rows
    assert 1 <= limits.max_rows(2 << bucket) <= limits.max_rows(1 << bucket)


def test_what_a_longer_batch_proves_raises_the_bound_of_shorter_ones():
    """A shortage among short rows, which come no more, does not bind the long ones for ever."""
    limits = MemoryLimits()
    limits.out_of_memory(100, 8)
    for _ in range(500):
        limits.fitted(limits.max_rows(64), 64, 100)
    assert limits.max_rows(64) >= 100


def test_a_search_that_runs_out_of_memory_goes_on_to_what_fits():
    """32 rows fit, 128 do not, and larger sizes gain: the size is near 100, where the network stops to fit."""
    sizer = BatchSizer(BatchPolicy())
    sizer.set_row_bytes(64)
    for _ in range(2_000):
        rows = sizer.max_rows(0)
        while rows > 100:
            sizer.out_of_memory(rows, 0)
            rows //= 2
        sizer.measured(rows, 1e-6 * (50 + rows))
        sizer.fitted(rows, 0)
    assert not sizer.searching
    assert 94 <= sizer.max_rows(0) <= 100


def test_a_search_that_had_stopped_to_gain_keeps_the_fastest_size():
    sizer = BatchSizer(BatchPolicy())
    sizer.set_row_bytes(64)
    while sizer.rows < 512:
        sizer.measured(sizer.rows, 1e-3 * sizer.rows)
    sizer.out_of_memory(512, 0)
    assert (sizer.searching, sizer.max_rows(0)) == (False, 32)


class Shortage(torch.nn.Module):
    """Fits `fits` rows, which a test may change."""

    fits = 100

    def forward(self, x_BF):
        if len(x_BF) > Shortage.fits:
            raise torch.OutOfMemoryError(f"{len(x_BF)} rows")
        return torch.stack([-x_BF[:, 0], x_BF[:, 0]], dim=1)


def shortage(_weights, _device):
    return Shortage()


TASK = MlTask(
    name="t",
    input="table",
    model=ModelSpec(factory=f"{__name__}:shortage"),
    features=[NumericFeature(columns=["x"])],
    labels=["0", "1"],
)


def run(rows, fits, batch_size=None):
    Shortage.fits = fits
    tally = Tally()
    batch = pa.record_batch({"x": np.ones(rows)})
    for _ in predict_map(0, [batch], TASK, batch_size, model_loader=ModelLoader("."), tally=tally):
        pass
    assert (tally.predicted, tally.balanced) == (rows, True)
    return tally


@pytest.mark.parametrize("new_process", [False, True])
def test_what_is_remembered_rises_again(new_process):
    """A shortage binds the next run's beginning alone; the run after that starts where this one got to."""

    def next_run(*given):
        if new_process:
            forget_models()
        return run(*given)

    assert max(map(int, next_run(200, 3, 64).batch_sizes)) == 3
    assert next_run(20_000, 1_000, 64).batch_sizes["64"] > 200
    third = next_run(6_400, 1_000, 64)
    assert (third.splits, third.batch_sizes) == (0, {"64": 100})


def test_a_network_that_fits_100_rows_settles_near_100():
    tally = run(100_000, 100)
    near = sum(int(size) * times for size, times in tally.batch_sizes.items() if 94 <= int(size) <= 100)
    assert near > 80_000


class Holding(torch.nn.Module):
    """Runs out of memory above four rows, and looks whether what it had allocated is free at its next call."""

    def __init__(self):
        super().__init__()
        self.allocated, self.freed = None, []

    def forward(self, x_BF):
        if self.allocated is not None:
            self.freed.append(self.allocated() is None)
        hidden_BF = x_BF + 1
        self.allocated = weakref.ref(hidden_BF)
        if len(x_BF) > 4:
            raise torch.OutOfMemoryError(f"{len(x_BF)} rows")
        return torch.cat([-hidden_BF, hidden_BF], dim=1)


def test_the_memory_of_a_batch_that_did_not_fit_is_free_when_halves_are_tried():
    """A traceback keeps the tensors of its frames alive."""
    module = Holding()
    model = TorchModel(TASK, module, models_root=Path(), device=torch.device("cpu"), batch_size=16)
    assert list(model.predict([{"x": 1.0}] * 16))[-1]["predicted_class"] == "1"
    assert module.freed == [True] * 6  # 16, 8, 4, 4, 8, 4 and 4 rows


def test_a_run_that_never_runs_out_of_memory_writes_nothing(tmp_path):
    """No file is replaced for nothing; once one is there, only a change of what fits replaces it."""

    def files():
        return {path.name: path.stat().st_ino for path in tmp_path.rglob("*.json")}

    run(64, 100, 16)
    assert files() == {}
    run(64, 4, 16)
    written = files()
    assert len(written) == 1
    run(64, 4, 16)
    assert files() == written


def test_receipts_that_tell_what_fitted_can_still_be_read():
    """Earlier versions kept the sizes that fit in each part's receipt and in the table's tally, as `ceilings`."""
    plain = Tally(rows=3, predicted=3).to_plain() | {"ceilings": {"cpu:0": 4}}
    assert Tally.from_plain(plain) == Tally(rows=3, predicted=3)


def test_a_size_that_is_being_tried_is_not_told_as_one_that_fits():
    """A run that ends in the middle of a try must not leave it to the next one as what is known to fit."""
    limits = MemoryLimits()
    limits.out_of_memory(8, 0)
    assert limits.known == {0: 4}
    while (rows := limits.max_rows(0)) == 4:
        limits.fitted(rows, 0, 16)
    assert (rows, limits.known) == (6, {0: 4})
    limits.fitted(rows, 0, 16)
    assert limits.known == {0: 6}

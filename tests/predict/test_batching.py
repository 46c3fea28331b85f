"""Batches: found sizes, memory that runs out, duplicates, precision, hanging batches. Rows stay exact throughout."""

import dataclasses
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparktorch_assets.errors import ModelError, TaskError
from sparktorch_assets.predict.batches.duplicates import distinct_rows
from sparktorch_assets.predict.batches.out_of_memory import is_out_of_memory
from sparktorch_assets.predict.batches.prefetch import prefetch
from sparktorch_assets.predict.batches.shared_limits import SharedLimits
from sparktorch_assets.predict.batches.sizer import FIRST_ROWS, GROWTH, TOKEN_BYTES, BatchSizer
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.local import LocalPredictor
from sparktorch_assets.predict.model.cache import cached_model
from sparktorch_assets.predict.model.torch_model import TorchModel
from sparktorch_assets.predict.partition import predict_batches, predict_map
from sparktorch_assets.predict.schema import output_schema
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import (
    BatchPolicy,
    CustomFeature,
    Execution,
    MlTask,
    ModelSpec,
    NumericFeature,
    SequenceFeature,
    TextFeature,
)


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path, monkeypatch):
    """What ran out of memory is remembered per host: not from one test to the next."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def predicted(batches):
    return pa.Table.from_batches(list(batches)).to_pylist()


@pytest.mark.promise("M39")
def test_the_fastest_size_is_found_and_kept():
    """Sizes grow until two in a row bring no more rows a second; the smallest of the fast ones stays, and a single slow
    batch (the machine was busy) changes nothing."""
    sizer = BatchSizer(BatchPolicy())
    sizer.set_row_bytes(64)
    sizes = []
    rates = {FIRST_ROWS * GROWTH**power: rate for power, rate in enumerate([1e4, 2e4, 5e4, 5.1e4, 4.9e4])}
    sizer.measured(sizer.rows, 0.9)  # the first batch warms up and does not count
    while sizer.searching:
        size = sizer.rows
        sizes.append(size)
        for busy in (1, 9, 2):
            sizer.measured(size, busy * size / rates[size])
    assert sizes == list(rates)
    assert sizer.rows == FIRST_ROWS * GROWTH**2


@pytest.mark.promise("M40")
@pytest.mark.parametrize(
    ("policy", "rows"),
    [(BatchPolicy(batch_size=7), 7), (BatchPolicy(max_bytes=100), 10), (BatchPolicy(batch_size=3, max_bytes=100), 3)],
)
def test_pinned_sizes_are_not_searched(policy, rows):
    """Rows and bytes bind as declared; nothing is tried out."""
    sizer = BatchSizer(policy)
    sizer.set_row_bytes(10)
    assert (sizer.searching, sizer.max_rows(0)) == (False, rows)


@pytest.mark.promise("M41")
@pytest.mark.parametrize(
    ("policy", "row_bytes", "largest"),
    [
        (BatchPolicy(), 64, 16_384),
        (BatchPolicy(), 600_000, 64),  # images of 224 x 224: 111 of them take 64 MiB
        (BatchPolicy(window_bytes=1), 600_000, 1),
        (BatchPolicy(), 370 * TOKEN_BYTES, 1 << 20),
        (BatchPolicy(window_rows=100), 37 * TOKEN_BYTES, 2_048),
        (BatchPolicy(window_rows=10), 37 * TOKEN_BYTES, 256),
    ],
)
def test_sizes_are_tried_only_as_far_as_a_window_fills_them(policy, row_bytes, largest):
    """However much larger sizes gain, the search ends: the largest is a power of two that a window holds."""
    tokens = row_bytes % TOKEN_BYTES == 0
    sizer = BatchSizer(policy, has_lengths=tokens)
    sizer.set_row_bytes(row_bytes)
    window = sizer.fitting_rows * (row_bytes // TOKEN_BYTES if tokens else 1)
    tried = []
    while sizer.searching:
        size = sizer.tokens if tokens else sizer.rows
        tried.append(size)
        sizer.measured(min(size, window), 1e-3)
        assert len(tried) < 100
    assert max(tried) == largest == (sizer.tokens if tokens else sizer.rows)


class Wide:
    """A user's encoder that makes 4,000 bytes of a row; it tells nobody but by its tensors."""

    rows_at_once: ClassVar[list[int]] = []

    def __call__(self, batch):
        self.rows_at_once.append(batch.num_rows)
        return torch.tensor(batch.column("x").to_numpy()).float().unsqueeze(1).expand(-1, 1000).contiguous()


@pytest.mark.promise("M41")
@pytest.mark.parametrize(
    ("policy", "batches", "first_window"),
    [
        (BatchPolicy(batch_size=5, window_bytes=40_000), {"5": 20}, 30),
        (BatchPolicy(max_bytes=12_000, window_bytes=40_000), {"3": 32, "2": 2}, 32),
        (BatchPolicy(batch_size=50, window_bytes=40_000), {"50": 2}, 50),  # what is pinned holds, whatever it takes
    ],
)
def test_a_users_encoder_is_bounded_by_the_bytes_that_it_makes(policy, batches, first_window):
    """How much a row takes is seen on the first, small window: later ones hold window_bytes, batches max_bytes."""
    Wide.rows_at_once.clear()
    task = MlTask(
        name="wide",
        input="table",
        model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
        features=[CustomFeature(columns=["x"], encoder=f"{__name__}:Wide")],
        labels=["0", "1"],
        batch=policy,
    )
    batch = pa.record_batch({"x": pa.array(np.where(np.arange(100) % 2, 1.0, -1.0))})
    tally = Tally()
    found = predicted(predict_map(0, [batch], task, model_loader=ModelLoader("."), tally=tally))
    assert [row["predicted_class"] for row in found] == ["0", "1"] * 50
    assert tally.batch_sizes == batches
    assert Wide.rows_at_once[0] == first_window
    assert max(Wide.rows_at_once[1:]) <= max(policy.batch_size or 0, 10)


@pytest.mark.promise("M56")
@pytest.mark.parametrize(
    ("call_rows", "failed", "rows"),
    [
        (16, 1, 113),
        (16, 10, 36),
        (400, 1, 566),
        (1, 1, 28),
        (1, 500, 1),
    ],  # per thousand; sqrt(1000 call / (1.25 failed))
)
def test_batches_shrink_where_rows_keep_failing(call_rows, failed, rows):
    """The more a call costs beside its rows, and the fewer rows fail, the larger a batch; a pinned size stays."""
    found, pinned = BatchSizer(BatchPolicy()), BatchSizer(BatchPolicy(batch_size=1000))
    found.set_row_bytes(64)
    while found.searching:
        found.measured(found.rows, 1e-6 * (call_rows + found.rows))
    for sizer in (found, pinned):
        sizer.failed(failed, 1000)
    assert found.max_rows(0) == pytest.approx(rows, abs=1)
    assert pinned.max_rows(0) == 1000


def test_batches_grow_again_after_a_bad_stretch():
    """What failed long ago is forgotten in the end, and a bad stretch after a long good one is noticed."""
    sizer = BatchSizer(BatchPolicy())
    sizer.set_row_bytes(64)
    while sizer.searching:
        sizer.measured(sizer.rows, 1e-6 * (16 + sizer.rows))
    clean = sizer.max_rows(0)
    for _ in range(100):
        sizer.failed(1, 100)
    assert sizer.max_rows(0) < 50 < clean
    for _ in range(4_000):
        sizer.failed(0, clean)
    assert sizer.max_rows(0) == clean
    for _ in range(300):
        sizer.failed(1, 100)
    assert sizer.max_rows(0) < 50


def test_a_size_at_which_every_batch_fails_ends_the_search():
    """Where rows fail so often that no large batch gets through, the largest size that did is kept."""
    sizer = BatchSizer(BatchPolicy())
    sizer.set_row_bytes(64)
    while sizer.rows < 2048:
        sizer.measured(sizer.rows, 1e-6 * (1000 + sizer.rows))
    for _ in range(10):
        sizer.failed(1, 2048)
    assert not sizer.searching
    assert sizer.rows == 512


@pytest.mark.promise("M44", "M62")
@given(st.integers(1, 40), st.integers(1, 100), st.integers(1, 60))
def test_out_of_memory_costs_splits_but_no_row(fits, batch_size, rows):
    """A network that fits `fits` rows predicts any number of them, in order; the size that fits is remembered."""
    task = _task("OutOfMemoryAbove", rows=fits)
    batch = pa.record_batch({"id": pa.array(range(rows)), "x": pa.array([1.0] * rows)})
    tally = Tally()
    found = predicted(predict_map(0, [batch], task, batch_size, model_loader=ModelLoader("."), tally=tally))
    assert [row["id"] for row in found] == list(range(rows))
    assert all(row["predicted_class"] == "1" for row in found)
    assert all(int(size) <= fits for size in tally.batch_sizes)
    assert tally.splits == 0 or min(batch_size, rows) > fits  # 0 also where an earlier example taught the host


@pytest.mark.promise("M46")
def test_a_safe_size_is_remembered_by_the_host(tmp_path):
    """Once halved, a model's next process on the host starts at the size that fitted."""
    from sparktorch_assets.predict.model.cache import forget_models

    task = _task("OutOfMemoryAbove", rows=4)
    batch = pa.record_batch({"id": pa.array(range(32)), "x": pa.array([1.0] * 32)})
    tallies = []
    for _ in range(2):
        forget_models()  # as a new process would
        tallies.append(Tally())
        list(predict_map(0, [batch], task, 16, model_loader=ModelLoader("."), tally=tallies[-1]))
    assert tallies[0].splits > 0
    assert (tallies[1].splits, tallies[1].batch_sizes) == (0, {"4": 8})


def test_models_are_kept_by_bytes_and_least_recent_use():
    """A model that is used again stays up; past the bytes allowed, the one not used for longest goes."""
    brought_up = []

    class Model:
        weight_bytes = 40

    def bring_up(name):
        return cached_model(name, lambda: brought_up.append(name) or Model(), max_bytes=100)

    for name in ("a", "b", "a", "c", "a", "b"):  # "c" makes 120 bytes: "b" goes
        bring_up(name)
    assert brought_up == ["a", "b", "c", "b"]


def test_a_changed_policy_holds_for_a_model_that_is_up_already():
    """A worker keeps its models: the next task with the same weights brings its own batch policy, and its name."""
    batch = pa.record_batch({"x": pa.array([1.0] * 8)})
    for size in (4, 2):
        tally = Tally()
        task = _task("Echo", batch=BatchPolicy(batch_size=size))
        list(predict_map(0, [batch], task, model_loader=ModelLoader("."), tally=tally))
        assert tally.batch_sizes == {str(size): 8 // size}
    broken = dataclasses.replace(_task("Echo"), labels=["0", "1", "2"])
    for name in ("first", "second"):
        with pytest.raises(ModelError, match=f"task '{name}': the model returned logits of shape"):
            list(predict_map(0, [batch], dataclasses.replace(broken, name=name), model_loader=ModelLoader(".")))


def test_one_row_that_does_not_fit_is_one_failed_row():
    """At a batch of one, the row fails; the error of the allocator is its reason."""
    batch = pa.record_batch({"id": pa.array([0, 1]), "x": pa.array([1.0, 1.0])})
    found = predicted(predict_map(0, [batch], _task("OutOfMemoryAbove", rows=0), 2, model_loader=ModelLoader(".")))
    assert [row["prediction_error"].split(":")[1] for row in found] == [" OutOfMemoryError"] * 2


def test_the_cpu_allocators_error_is_told_apart():
    """torch raises a plain RuntimeError when the host's memory runs out; another RuntimeError is not that."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


def allocate(x_B: torch.Tensor, values: int) -> torch.Tensor:
    return torch.empty(values) + x_B


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_shortage_inside_torchscript_is_recognized():
    """The interpreter raises a RuntimeError that quotes the allocator's."""
    with pytest.raises(RuntimeError, match="TorchScript interpreter") as caught:
        torch.jit.script(allocate)(torch.zeros(1), 1 << 60)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."), True),
        (MemoryError(), True),
        (RuntimeError("...in forward\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (torch.AcceleratorError("CUDA error: out of memory", 2), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in ..."), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("std::bad_alloc"), True),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered", 700), False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"), False),
        (ValueError("CUDA out of memory"), False),
    ],
    ids=str,
)
def test_errors_that_a_smaller_batch_may_cure_are_recognized(error, expected):
    """As torch words them, whatever allocates the memory; another error is not taken for a shortage."""
    assert is_out_of_memory(error) is expected


def test_damaged_memory_of_the_host_is_ignored(tmp_path):
    """A file that is cut short or foreign costs the knowledge, not the run; what fits now takes the place of what did."""
    shared = SharedLimits("model", tmp_path)
    assert shared.read() == {}
    for damaged in ("{", "[1]", "7", '{"0": null}'):
        (tmp_path / "model.json").write_text(damaged)
        assert shared.read() == {}
    for known in ({0: 8, 64: 2}, {0: 16}, {}):
        shared.write(known)
        assert shared.read() == known


@given(st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.none() | st.integers(0, 2)), max_size=30))
def test_distinct_rows_stand_for_all(rows):
    """Every row equals the one that stands for it, each of those is different, in order of first appearance."""
    batch = pa.record_batch(
        {"a": pa.array([a for a, _ in rows], pa.string()), "b": pa.array([b for _, b in rows], pa.int64())}
    )
    first, place = distinct_rows(batch)
    assert [rows[first[p]] for p in place] == rows
    assert [rows[f] for f in first] == list(dict.fromkeys(rows))


@pytest.mark.promise("M43")
def test_duplicates_are_predicted_once():
    """With `deduplicate`, equal inputs cost one forward row; the table has every row, failures too."""
    values = [1.0, -1.0, 13.0, 1.0, 13.0, None, None, -1.0]
    batch = pa.record_batch({"id": pa.array(range(8)), "x": pa.array(values)})
    task = _task("FailsOnValue", value=13.0, batch=BatchPolicy(batch_size=8, deduplicate=True))
    tally = Tally()
    found = predicted(predict_map(0, [batch], task, model_loader=ModelLoader("."), tally=tally))
    assert [row["predicted_class"] for row in found] == ["1", "0", None, "1", None, None, None, "0"]
    assert [row["id"] for row in found] == list(range(8))
    assert (tally.failed, tally.predicted, tally.balanced) == (4, 4, True)
    assert sum(int(size) * count for size, count in tally.batch_sizes.items()) == 2


class MeanByte(torch.nn.Module):
    """Text to two logits by the mean of its bytes; also the reference for packing and precision."""

    def forward(self, token_ids_BT, mask_BT):
        mean_B = (token_ids_BT * mask_BT).sum(dim=1) / mask_BT.sum(dim=1).clamp(min=1)
        return torch.stack([mean_B, 200 - mean_B], dim=1).to(self.scale.dtype) / 50 * self.scale

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(float(scale)), requires_grad=False)


def mean_byte(_weights, _device, **arguments):
    return MeanByte(**arguments)


def _text_task(**changes):
    given = {
        "name": "text",
        "input": "table",
        "model": ModelSpec(factory=f"{__name__}:mean_byte"),
        "features": [TextFeature(column="t", fill="")],
        "labels": ["high", "low"],
    }
    return MlTask(**given | changes)


@pytest.mark.promise("M42")
@given(st.lists(st.text(max_size=40), min_size=1, max_size=30), st.integers(1, 8), st.integers(1, 200), st.booleans())
def test_packing_by_length_changes_no_answer(texts, window_rows, max_tokens, deduplicate):
    """Whatever the window, budget and order of lengths, rows come back in the input's order with the same answers."""
    batch = pa.record_batch({"t": pa.array(texts)})
    policy = BatchPolicy(max_tokens=max_tokens, window_rows=window_rows, deduplicate=deduplicate)
    found = predicted(predict_map(0, [batch], _text_task(batch=policy), model_loader=ModelLoader(".")))
    alone = [
        predicted(predict_map(0, [batch.slice(i, 1)], _text_task(), 1, model_loader=ModelLoader(".")))[0]
        for i in range(len(texts))
    ]
    assert [row["t"] for row in found] == texts
    assert [row["predicted_class"] for row in found] == [row["predicted_class"] for row in alone]
    assert np.allclose([row["confidence"] for row in found], [row["confidence"] for row in alone], atol=1e-6)


class Sums(torch.nn.Module):
    """The class is the sum of a row's values."""

    def forward(self, values_BT, mask_BT):
        return torch.nn.functional.one_hot((values_BT * mask_BT).sum(dim=1), 5).float()


def sums(_weights, _device):
    return Sums()


@pytest.mark.promise("M42")
@given(st.lists(st.lists(st.just(1), max_size=4), min_size=1, max_size=30), st.integers(1, 12))
def test_sequences_are_packed_by_length_too(lists, max_tokens):
    """Lists of numbers, as texts: under the budget, in the input's order, each with its own answer."""
    task = _text_task(
        model=ModelSpec(factory=f"{__name__}:sums"),
        features=[SequenceFeature(column="s", dtype="int64")],
        labels=list("01234"),
        batch=BatchPolicy(max_tokens=max_tokens),
    )
    batch = pa.record_batch({"s": pa.array(lists, pa.list_(pa.int64()))})
    tally = Tally()
    found = predicted(predict_map(0, [batch], task, model_loader=ModelLoader("."), tally=tally))
    assert [row["predicted_class"] for row in found] == [str(len(values)) for values in lists]
    assert [row["s"] for row in found] == lists
    assert max(map(int, tally.batch_sizes)) <= max_tokens


@pytest.mark.promise("M41")
@pytest.mark.parametrize(
    ("policy", "windows"),
    [
        (BatchPolicy(window_bytes=90_000), [256, *[100] * 17, 44]),  # 100 values of 9 bytes a row
        (BatchPolicy(window_bytes=90_000, window_rows=50), [50] * 40),
        (BatchPolicy(window_bytes=90_000, batch_size=300), [300] * 6 + [200]),  # what is pinned holds
        (BatchPolicy(window_bytes=90_000, batch_size=30), [240, *[90] * 19, 50]),  # and fills whole windows
    ],
)
def test_windows_of_long_sequences_hold_fewer_rows(policy, windows, monkeypatch):
    """window_bytes bounds what is encoded at once by the lengths that there are, not by a guess."""
    task = _text_task(
        model=ModelSpec(factory=f"{__name__}:sums"),
        features=[SequenceFeature(column="s", dtype="int64", max_length=100)],
        labels=list("01234"),
        batch=policy,
    )
    seen = []
    prepare = TorchModel.prepare
    monkeypatch.setattr(
        TorchModel, "prepare", lambda model, batch, *rest: seen.append(batch.num_rows) or prepare(model, batch, *rest)
    )
    batch = pa.record_batch({"s": pa.array([[0] * 150] * 2000, pa.list_(pa.int64()))})
    assert len(predicted(predict_map(0, [batch], task, model_loader=ModelLoader(".")))) == 2000
    assert seen == windows


@pytest.mark.parametrize("rows", [1, 1_000])
def test_rows_by_hand_come_back_once_and_in_order(rows):
    """`predict(rows)`, as the mission's users call it, over several windows whose size changes meanwhile."""
    task = _text_task(
        model=ModelSpec(factory=f"{__name__}:sums"),
        features=[SequenceFeature(column="s", dtype="int64")],
        labels=list("01234"),
    )
    model = ModelLoader(".").bring_up_model(task, gpu=False)
    given = [{"id": i, "s": [1] * (i % 5)} for i in range(rows)]
    found = list(model.predict(iter(given)))
    assert [{"id": row["id"], "s": row["s"]} for row in found] == given
    assert [row["predicted_class"] for row in found] == [str(i % 5) for i in range(rows)]


class LengthAndNumber(torch.nn.Module):
    """Class 1 where the number equals the text's length: wrong as soon as the two come from different rows."""

    def forward(self, token_ids_BT, mask_BT, x_BF):
        equal_B = (mask_BT.sum(dim=1) == x_BF[:, 0]).float()
        return torch.stack([1 - equal_B, equal_B], dim=1)


def length_and_number(_weights, _device):
    return LengthAndNumber()


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.integers(1, 5))
def test_feature_groups_of_a_row_stay_together(lengths, batch_size):
    """Ordering by length moves all of a row's features, not the text alone."""
    batch = pa.record_batch({"t": pa.array(["a" * n for n in lengths]), "x": pa.array([float(n) for n in lengths])})
    task = _text_task(
        model=ModelSpec(factory=f"{__name__}:length_and_number"),
        features=[TextFeature(column="t"), NumericFeature(columns=["x"])],
        labels=["apart", "together"],
    )
    rows = predicted(predict_map(0, [batch], task, batch_size, model_loader=ModelLoader(".")))
    assert {row["predicted_class"] for row in rows} == {"together"}


@pytest.mark.parametrize("precision", ["bf16", "fp16", "int8-dynamic"])
def test_precision_is_compared_with_fp32(precision):
    """Another precision reports how far its first answers agree."""
    batch = pa.record_batch({"t": pa.array(["aaaa", "zzzz", "~~~~"])})
    tally = Tally()
    task = _text_task(execution=Execution(precision=precision))
    list(predict_map(0, [batch], task, model_loader=ModelLoader("."), tally=tally))
    assert tally.agreement == 1.0
    assert tally.confidence_difference is not None
    assert tally.confidence_difference < 0.02


@pytest.mark.promise("M50")
def test_too_little_agreement_refuses_to_run():
    """`min_agreement` is a floor: below it nothing is predicted."""
    task = _text_task(
        model=ModelSpec(factory=f"{__name__}:overflows_in_fp16"),
        execution=Execution(precision="fp16", min_agreement=0.9),
    )
    batch = pa.record_batch({"t": pa.array(["~~~~"] * 4)})
    with pytest.raises(ModelError, match="below min_agreement=0.9; use a higher precision"):
        list(predict_map(0, [batch], task, model_loader=ModelLoader(".")))


class OverflowsInFp16(MeanByte):
    """Its answer hangs on a product that fp16 cannot hold."""

    def forward(self, token_ids_BT, mask_BT):
        big_B = torch.full((len(token_ids_BT),), 300.0).to(self.scale.dtype)
        fits_B = torch.isfinite(big_B * big_B)
        return torch.stack([(~fits_B).float(), fits_B.float()], dim=1)


def overflows_in_fp16(_weights, _device):
    return OverflowsInFp16()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_network_gives_the_same_answers():
    """Batches padded to fixed shapes, in rows and tokens, change no answer."""
    texts = [("z" if i % 3 else "a") * (5 + i % 4) for i in range(13)]  # two batches, padded to one shape
    batch = pa.record_batch({"t": pa.array(texts)})
    policy = BatchPolicy(batch_size=8)
    plain, compiled = (
        predicted(
            predict_map(
                0, [batch], _text_task(batch=policy, execution=Execution(compile=how)), model_loader=ModelLoader(".")
            )
        )
        for how in ("none", "torch.compile")
    )
    assert [row["predicted_class"] for row in compiled] == [row["predicted_class"] for row in plain]
    assert np.allclose([row["confidence"] for row in compiled], [row["confidence"] for row in plain], atol=1e-5)


def test_unknown_precision_suggests_the_nearest():
    """A misspelt precision is refused where it is declared."""
    with pytest.raises(TaskError, match="did you mean 'fp16'"):
        Execution(precision="bfp16")


def test_channels_last_changes_no_answer():
    """A memory format is not an answer."""
    task = _task("Echo", execution=Execution(channels_last=True))
    batch = pa.record_batch({"x": pa.array([1.0, -1.0])})
    assert [r["predicted_class"] for r in predicted(predict_map(0, [batch], task, model_loader=ModelLoader(".")))] == [
        "1",
        "0",
    ]


def test_ahead_keeps_order_and_ends_its_thread():
    """Items come in order; closing early closes the source, and no thread is left."""
    closed = []

    def source():
        try:
            yield from range(1000)
        finally:
            closed.append(True)

    before = threading.active_count()
    assert list(prefetch(range(50))) == list(range(50))
    stream = prefetch(source())
    assert [next(stream), next(stream)] == [0, 1]
    stream.close()
    assert closed == [True]
    assert threading.active_count() == before


def test_an_error_ahead_arrives_after_the_items_before_it():
    """Nothing that was done is lost, and the error is the original one."""

    def source():
        yield 1
        raise KeyError("lost")

    stream = prefetch(source())
    assert next(stream) == 1
    with pytest.raises(KeyError, match="lost"):
        next(stream)


def test_overlapped_stages_give_the_same_rows(echo_task, table, loader, monkeypatch):
    """Threads change nothing but the time."""
    results = []
    for threads in (1, 2):
        monkeypatch.setattr("sparktorch_assets.predict.local._threads", lambda threads=threads: threads)
        monkeypatch.setattr("sparktorch_assets.predict.local._encodes_long", lambda _: True)
        results.append(predicted(predict_map(0, [table(3), table(7, 3)], echo_task(), 4, model_loader=loader)))
    assert results[0] == results[1]


@pytest.mark.parametrize("policy", [BatchPolicy(), BatchPolicy(batch_size=64), BatchPolicy(max_tokens=600)])
def test_one_thread_alone_asks_and_teaches_the_sizer(policy, monkeypatch):
    """With overlapping stages, too: the thread that encodes sees nothing but the number of rows of its next window."""
    monkeypatch.setattr("sparktorch_assets.predict.local._threads", lambda: 2)
    monkeypatch.setattr("sparktorch_assets.predict.local._encodes_long", lambda _: True)
    threads = set()

    class Watched(BatchSizer):
        def __getattribute__(self, name):
            threads.add(threading.current_thread())
            return super().__getattribute__(name)

        def __setattr__(self, name, value):
            threads.add(threading.current_thread())
            super().__setattr__(name, value)

    monkeypatch.setattr("sparktorch_assets.predict.model.torch_model.BatchSizer", Watched)
    task = _text_task(
        model=ModelSpec(factory=f"{__name__}:short_of_memory"),
        features=[SequenceFeature(column="s", dtype="int64")],
        labels=list("01234"),
        batch=policy,
    )
    predictor = LocalPredictor(task, model_loader=ModelLoader("."))
    assert predictor.overlaps
    batches = [
        pa.record_batch({"s": pa.array([[1] * ((i + j) % 5) for i in range(100)], pa.list_(pa.int64()))})
        for j in range(40)
    ]
    stream = predict_batches(batches, predictor=predictor, schema=output_schema(task, batches[0].schema))
    threads.clear()
    found = predicted(stream)
    assert [row["predicted_class"] for row in found] == [str(len(row["s"])) for row in found]
    assert len(found) == 4_000
    learning = threads - {threading.main_thread()}  # which makes the sizer, before there are others
    assert [thread.name for thread in learning] == ["predict-prefetch"]


class ShortOfMemory(Sums):
    """A sum for which there is room for 40 rows without padding, fewer with."""

    def forward(self, values_BT, mask_BT):
        if values_BT.numel() > 40:
            raise torch.OutOfMemoryError(f"{tuple(values_BT.shape)}")
        return super().forward(values_BT, mask_BT)


def short_of_memory(_weights, _device):
    return ShortOfMemory()


@pytest.mark.promise("M47", "M62")
@pytest.mark.parametrize(("network", "code"), [("HangsOnValue", 75), ("DiesOnValue", -signal.SIGKILL)])
def test_a_hanging_batch_ends_the_worker_and_is_named(network, code):
    """After batch_timeout_s the process ends with a code of its own, and its stderr names the batch; a process that is
    killed leaves no half-written answer."""
    script = textwrap.dedent(f"""
        import pyarrow as pa
        from sparktorch_assets import BatchPolicy, MlTask, ModelLoader, ModelSpec, NumericFeature, predict_map
        task = MlTask(name="hangs", input="t", features=[NumericFeature(columns=["x"])], labels=["0", "1"],
                      batch=BatchPolicy(batch_size=2, batch_timeout_s=1.0),
                      model=ModelSpec(factory="sparktorch_assets.testing:build",
                                      arguments={{"network": "{network}", "value": 13.0}}))
        batch = pa.record_batch({{"x": pa.array([1.0, 1.0, 1.0, 13.0])}})
        print(sum(b.num_rows for b in predict_map(0, [batch], task, model_loader=ModelLoader("."))))
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code
    assert done.stdout == ""
    if network == "HangsOnValue":
        assert "batch_timeout_s=1 exceeded in task 'hangs', batch 2 of this worker, 2 rows" in done.stderr


def _task(network, batch=None, execution=None, **arguments):
    return MlTask(
        name="t",
        input="table",
        model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": network, **arguments}),
        features=[NumericFeature(columns=["x"])],
        labels=["0", "1"],
        batch=batch or BatchPolicy(),
        execution=execution or Execution(),
    )


class PicksRows:
    """A user's own model object: raises for a batch that holds a 13."""

    sizes: ClassVar[list[int]] = []

    def predict(self, rows):
        self.sizes.append(len(rows))
        if any(row["x"] == 13.0 for row in rows):
            raise ValueError("13")
        return [{**row, "predicted_class": "0", "confidence": 1.0} for row in rows]


def picks_rows(_weights, _device):
    return PicksRows()


@pytest.mark.promise("M56")
def test_a_users_model_gets_smaller_batches_where_rows_keep_failing():
    """One failing row in 500 costs less in small batches, but a pinned size stays; every other row is predicted."""
    x = np.ones(20_000)
    x[250::500] = 13.0
    tried = {}
    for batch_size in (None, 1024):
        task = MlTask(
            name="own",
            input="table",
            model=ModelSpec(factory=f"{__name__}:picks_rows"),
            features=[],
            labels=["0", "1"],
            batch=BatchPolicy(batch_size=batch_size),
        )
        PicksRows.sizes.clear()
        tally = Tally()
        predicted(predict_map(0, [pa.record_batch({"x": x})], task, model_loader=ModelLoader("."), tally=tally))
        assert (tally.predicted, tally.failed) == (19_960, 40)
        tried[batch_size] = list(PicksRows.sizes)
    assert tried[1024].count(1024) == 19
    assert tried[None].count(1024) == 1
    assert max(tried[None][20:]) < 200
    assert sum(tried[None]) < 0.6 * sum(tried[1024])

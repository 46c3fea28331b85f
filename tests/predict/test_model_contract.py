"""What a network is given and may return, and what the models of one host share."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.local import LocalPredictor
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tasks import (
    BatchPolicy,
    CategoricalFeature,
    ClassificationOutput,
    CustomFeature,
    ImageFeature,
    MlTask,
    ModelSpec,
    NumericFeature,
    SequenceFeature,
    SlotPolicy,
    TextFeature,
)

ROWS = pa.table(
    {
        "x": [1.0, -2.0],
        "c": ["a", "other"],
        "t": ["ab", "c"],
        "s": [[1.0, 2.0, 3.0], [4.0]],
        "n": [[1], [2, 3]],
    }
)


class Seen(torch.nn.Module):
    """Keeps what it is given."""

    seen: tuple = ()

    def forward(self, *inputs):
        type(self).seen = inputs
        return torch.zeros(len(inputs[0]), 2)


class Gives(torch.nn.Module):
    """Returns the numeric column in one of the forms that a network may return."""

    def __init__(self, form):
        super().__init__()
        self.form = form

    def forward(self, x_BF):
        logits_BC = torch.cat([torch.zeros_like(x_BF), x_BF], dim=1)
        if self.form == "object":
            return Output(logits_BC, x_BF * 10)
        return {"two": logits_BC, "one": x_BF, "flat": x_BF[:, 0], "pair": (logits_BC, x_BF * 10)}[self.form]


@dataclasses.dataclass
class Output:
    """As the models of transformers return it."""

    logits: torch.Tensor
    embedding: torch.Tensor


def seen(_weights, _device):
    return Seen()


def gives(_weights, _device, form):
    return Gives(form)


def encoder():
    return lambda batch: torch.tensor(batch.column(0).to_pylist())[:, None]


def lists():
    return lambda batch: batch.column(0).combine_chunks() if hasattr(batch.column(0), "chunks") else batch.column(0)


TASK = MlTask(
    name="contract",
    input="i",
    model=ModelSpec(factory="test_model_contract:seen"),
    features=[
        NumericFeature(columns=["x"]),
        CategoricalFeature(columns=["c"], vocabulary={"c": ["b", "a"]}),
        TextFeature(column="t"),
        SequenceFeature(column="s"),
        SequenceFeature(column="n", dtype="int64"),
        CustomFeature(columns=["x"], encoder="test_model_contract:encoder"),
        CustomFeature(columns=["s"], encoder="test_model_contract:lists", sequences=True),
    ],
    labels=["no", "yes"],
    batch=BatchPolicy(batch_size=2),
)


def predicted(task, loader):
    found = predict_map(0, ROWS.to_batches(), task, model_loader=loader)
    return pa.Table.from_batches(found).to_pylist()


@pytest.mark.promise("M25")
def test_forward_gets_an_argument_for_each_group_and_a_mask_where_there_are_lengths(loader):
    """In the order of declaration, with the types that the groups have."""
    predicted(TASK, loader)
    kinds = [(tuple(value.shape), value.dtype) for value in Seen.seen]
    floats, ids, mask = torch.float32, torch.int64, torch.bool
    assert kinds == [
        ((2, 1), floats),
        ((2, 1), ids),
        *[((2, 2), ids), ((2, 2), mask)],
        *[((2, 3), floats), ((2, 3), mask)],
        *[((2, 2), ids), ((2, 2), mask)],
        ((2, 1), floats),
        *[((2, 3), floats), ((2, 3), mask)],
    ]
    order = Seen.seen[0][:, 0].tolist().index(1.0)  # texts and sequences are put in order of length
    assert [value[order].tolist() for value in Seen.seen[1:4]] == [[2], [98, 99], [True, True]]
    assert [value[1 - order].tolist() for value in Seen.seen[1:4]] == [[0], [100, 0], [True, False]]


@pytest.mark.promise("M30")
def test_an_image_becomes_channels_height_and_width(loader):
    from io import BytesIO

    from PIL import Image

    out = BytesIO()
    Image.new("RGB", (5, 4), (255, 0, 0)).save(out, format="PNG")
    task = dataclasses.replace(TASK, features=[ImageFeature(column="i", height=2, width=3)])
    list(predict_map(0, pa.table({"i": [out.getvalue()]}).to_batches(), task, model_loader=loader))
    (x_BCHW,) = Seen.seen
    assert (tuple(x_BCHW.shape), x_BCHW.dtype) == ((1, 3, 2, 3), torch.float32)
    assert x_BCHW[0, :, 0, 0].tolist() == [1.0, 0.0, 0.0]


@pytest.mark.promise("M21", "M22", "M92")
@pytest.mark.parametrize("form", ["two", "one", "flat", "pair", "object"])
def test_a_network_may_return_logits_in_each_promised_form(form, loader):
    """Two logits, one through a sigmoid, or logits with an embedding, as a pair or as an object."""
    task = dataclasses.replace(
        TASK,
        features=[NumericFeature(columns=["x"])],
        model=ModelSpec(factory="test_model_contract:gives", arguments={"form": form}),
        output=ClassificationOutput(scores=True, embedding=form in ("pair", "object")),
    )
    rows = predicted(task, loader)
    share = torch.sigmoid(torch.tensor([1.0, -2.0]))
    assert [row["predicted_class"] for row in rows] == ["yes", "no"]
    assert [row["scores"][1] for row in rows] == pytest.approx(share.tolist())
    assert [row["confidence"] for row in rows] == pytest.approx([share[0].item(), 1 - share[1].item()])
    if task.output.embedding:
        assert [row["embedding"] for row in rows] == [[10.0], [-20.0]]


class Constant:
    """A model object of a user's own."""

    def predict(self, rows):
        return [{**row, "predicted_class": "only", "confidence": 0.25} for row in rows]


def constant(_weights, _device):
    return Constant()


@pytest.mark.promise("M22")
@pytest.mark.parametrize("form", ["one", "flat", "pair"])
def test_one_label_is_refused_of_a_network_and_not_of_a_model_object(form, loader):
    """Softmax over one logit is 1 whatever the row holds; an object brings a confidence of its own."""
    one = dataclasses.replace(TASK, features=[NumericFeature(columns=["x"])], labels=["only"])
    network = dataclasses.replace(one, model=ModelSpec(factory="test_model_contract:gives", arguments={"form": form}))
    with pytest.raises(ModelError, match=r"labels=\['only'\] is a single class.*Name both classes"):
        predicted(network, loader)
    model_object = dataclasses.replace(one, model=ModelSpec(factory="test_model_contract:constant"))
    assert [row["confidence"] for row in predicted(model_object, loader)] == [0.25, 0.25]


class Doubles(ModelLoader):
    """Loads a format that the library does not know."""

    def load_module(self, _task, _device):
        scale = float((self.models_root / "m.scale").read_text())
        module = torch.nn.Linear(1, 2, bias=False)
        module.weight.data = torch.tensor([[0.0], [scale]])
        return module


@pytest.mark.promise("M24")
def test_a_subclass_of_the_loader_loads_differently(tmp_path):
    (tmp_path / "m.scale").write_text("-1")
    task = dataclasses.replace(
        TASK,
        features=[NumericFeature(columns=["x"])],
        model=ModelSpec(weights="m.scale", format="pickle", trust_code=True),
    )
    assert [row["predicted_class"] for row in predicted(task, Doubles(tmp_path))] == ["no", "yes"]


@pytest.mark.promise("M67")
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="tells which files are mapped into memory")
@pytest.mark.parametrize("name", ["m.safetensors", "m.pth"])
def test_weights_are_mapped_into_memory(name, tmp_path):
    """So that the processes of one host share one copy."""
    network = torch.nn.Linear(512, 512)
    if name.endswith(".pth"):
        torch.save(network.state_dict(), tmp_path / name)
    else:
        save_file(network.state_dict(), tmp_path / name)
    model = ModelSpec(weights=name, architecture="torch.nn:Linear", arguments={"in_features": 512, "out_features": 512})
    task = dataclasses.replace(TASK, features=[NumericFeature(columns=["x"])], model=model)
    found = ModelLoader(tmp_path).load_module(task, torch.device("cpu"))
    maps = []
    with open("/proc/self/maps") as lines:
        for line in lines:
            if line.rstrip().endswith(str(tmp_path / name)):
                maps.append([int(edge, 16) for edge in line.split()[0].split("-")])
    assert any(first <= found.weight.data_ptr() < end for first, end in maps)


@pytest.mark.promise("M65")
@pytest.mark.parametrize(("slots", "share"), [(1, 1.0), (2, 0.5), (10_000, 0.0)])
def test_each_slot_gets_its_share_of_the_cores(slots, share, loader):
    before, cores = torch.get_num_threads(), len(os.sched_getaffinity(0))
    try:
        task = dataclasses.replace(TASK, features=[NumericFeature(columns=["x"])])
        LocalPredictor(task, model_loader=loader, slots=SlotPolicy(device="cpu"), concurrent_slots=slots)
        assert torch.get_num_threads() == max(1, int(cores * share))
    finally:
        torch.set_num_threads(before)


class Counts(torch.nn.Module):
    """NaN where the number is 7; counts its calls."""

    calls = 0

    def forward(self, x_BF):
        type(self).calls += 1
        return torch.where(x_BF == 7.0, torch.nan, torch.cat([torch.zeros_like(x_BF), x_BF], dim=1))


def counts(_weights, _device):
    return Counts()


@pytest.mark.promise("M57")
def test_rows_that_are_known_to_fail_cost_no_call(loader):
    """Nulls never reach the network, and NaN logits tell which rows they are of."""
    task = dataclasses.replace(
        TASK,
        features=[NumericFeature(columns=["x"])],
        model=ModelSpec(factory="test_model_contract:counts"),
        batch=BatchPolicy(batch_size=4),
    )
    rows = pa.table({"x": [1.0, None, 7.0, 2.0, None, 3.0, 7.0, 4.0, 5.0, 6.0]})
    found = pa.Table.from_batches(predict_map(0, rows.to_batches(), task, model_loader=loader)).to_pylist()
    assert [row["prediction_error"] is None for row in found] == [row["x"] not in (None, 7.0) for row in found]
    assert Counts.calls == 2  # of eight rows that are no nulls


class Masked(torch.nn.Module):
    """Leaves out all labels but one, as transformers does: with the least finite number."""

    def forward(self, x_BF):
        least = torch.finfo(torch.float32).min
        return torch.stack([x_BF[:, 0], *[torch.full((len(x_BF),), least)] * 2], dim=1)


def masked(_weights, _device):
    return Masked()


@pytest.mark.promise("M54")
def test_finite_logits_are_fine_however_large_and_others_fail(loader):
    rows = pa.record_batch({"x": [0.0, 1e38, 3e38, float(np.finfo(np.float32).min), np.inf, -np.inf, np.nan]})
    task = MlTask(
        name="masked",
        input="i",
        model=ModelSpec(factory="test_model_contract:masked"),
        features=[NumericFeature(columns=["x"])],
        labels=["a", "b", "c"],
        max_failed_share=1.0,
    )
    (found,) = predict_map(0, [rows], task, model_loader=loader)
    assert found.column("predicted_class").to_pylist() == ["a"] * 4 + [None] * 3
    assert found.column("confidence").to_pylist()[:4] == pytest.approx([1, 1, 1, 1 / 3])
    assert all("NaN or infinite logits" in error for error in found.column("prediction_error").to_pylist()[4:])

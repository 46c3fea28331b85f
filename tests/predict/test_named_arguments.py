"""Arguments of `forward` by name: every tensor reaches the argument that its feature group names, in every execution."""

import shutil

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparktorch_assets.errors import HookError, TaskError
from sparktorch_assets.predict.encode.encoders import make_encoder
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import (
    CategoricalFeature,
    CustomFeature,
    EmbeddingOutput,
    Execution,
    ImageFeature,
    MlTask,
    ModelSpec,
    NumericFeature,
    RegressionOutput,
    SequenceFeature,
    TextFeature,
)

BY_NAME = TextFeature(column="t", argument="input_ids", mask_argument="attention_mask")
POSITIONAL = NumericFeature(columns=["x"])


class Weighed(torch.nn.Module):
    """(x, a sum of tokens, number of tokens) in one number, so that no two arguments can be exchanged unnoticed."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, x_BF, *, attention_mask, input_ids):
        values_B = x_BF[:, 0] * 0.5 + (input_ids * attention_mask).sum(1) + 1000 * attention_mask.sum(1)
        return values_B[:, None] * self.scale


class InPlace(torch.nn.Module):
    def forward(self, *, values):
        values += 1
        if (values > 50).any():
            raise ValueError("a poisoned row")
        return values


class Pooled(torch.nn.Module):
    def forward(self, *, ids, mask):
        return torch.stack([ids.float(), mask.float()], dim=2)


def weighed(_path, _device):
    return Weighed()


def in_place(_path, _device):
    return InPlace()


def pooled(_path, _device):
    return Pooled()


def two_tensors():
    return lambda batch: (torch.zeros(batch.num_rows), torch.zeros(batch.num_rows))


def task(features=(BY_NAME, POSITIONAL), factory="weighed", **changes):
    declared = {
        "name": "t",
        "model": ModelSpec(factory=f"{__name__}:{factory}"),
        "features": list(features),
        "output": RegressionOutput(),
    }
    return MlTask(**(declared | changes))


def expected(xs, texts):
    return [
        x * 0.5 + sum(byte + 1 for byte in text.encode()) + 1000 * len(text.encode())
        for x, text in zip(xs, texts, strict=True)
    ]


def predicted(given, xs, texts, **options):
    batch = pa.record_batch({"t": pa.array(texts, pa.string()), "x": pa.array(xs, pa.float32())})
    return [row for answer in predict_map(0, [batch], given, **options) for row in answer.to_pylist()]


@pytest.mark.promise("M130")
@given(st.lists(st.text(max_size=9), min_size=1, max_size=9), st.integers(1, 4), st.booleans())
def test_named_and_positional_arguments_mix(texts, batch_size, swapped):
    """A named group does not count among the positional ones, wherever it is declared."""
    xs = [float(row) for row in range(len(texts))]
    features = (POSITIONAL, BY_NAME) if swapped else (BY_NAME, POSITIONAL)
    found = predicted(task(features), xs, texts, batch_size=batch_size)
    assert [row["predicted_value"] for row in found] == expected(xs, texts)


COMPILED = pytest.param(
    Execution(compile="torch.compile"),
    id="compiled",
    marks=[
        pytest.mark.slow,
        pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"),
        pytest.mark.filterwarnings("ignore"),
    ],
)


@pytest.mark.parametrize("execution", [pytest.param(Execution(precision="bf16"), id="bf16"), COMPILED])
def test_every_execution_passes_names(execution):
    """The comparison with fp32 calls the reference by names, too, and so does a compiled network, which gets padding."""
    tally = Tally()
    found = predicted(task(execution=execution), [1.0, 2.0, 3.0], ["a", "bc", "def"], tally=tally)
    assert np.allclose([row["predicted_value"] for row in found], expected([1, 2, 3], ["a", "bc", "def"]), rtol=0.01)
    assert tally.agreement == (1.0 if execution.precision == "bf16" else None)


def test_a_network_that_changes_named_arguments_gets_copies():
    """A batch that is tried again, since one of its rows is poisoned, sees its arguments as they were encoded."""
    given = task([NumericFeature(columns=["x"], argument="values")], "in_place", max_failed_share=1.0)
    found = predicted(given, [1.0, 2.0, 99.0, 4.0], [""] * 4, batch_size=4)
    assert [row["predicted_value"] for row in found] == [2.0, 3.0, None, 5.0]
    assert "a poisoned row" in found[2]["prediction_error"]


def test_pooling_uses_a_named_mask():
    """The mean over the tokens that are not padding."""
    features = [TextFeature(column="t", argument="ids", mask_argument="mask")]
    given = task(features, "pooled", output=EmbeddingOutput(length=2, pooling="mean"))
    found = predicted(given, [0.0, 0.0], ["ac", "b"], batch_size=2)
    assert [row["embedding"] for row in found] == [[99.0, 1.0], [99.0, 1.0]]


EVERY_KIND = {
    "numeric": lambda **names: NumericFeature(columns=["x"], **names),
    "categorical": lambda **names: CategoricalFeature(columns=["c"], vocabulary={"c": ["a"]}, **names),
    "text": lambda **names: TextFeature(column="t", **names),
    "sequence": lambda **names: SequenceFeature(column="s", **names),
    "image": lambda **names: ImageFeature(column="i", height=2, width=2, **names),
    "custom": lambda **names: CustomFeature(columns=["x"], encoder=f"{__name__}:two_tensors", **names),
    "lists": lambda **names: CustomFeature(columns=["x"], encoder="json:loads", sequences=True, **names),
}
WITH_MASK = ("text", "sequence", "lists")


@pytest.mark.promise("M131")
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_names_are_checked_when_they_are_declared(kind):
    """A name is given once per task, is an identifier, and is not given to the values alone."""
    make = EVERY_KIND[kind]
    named = {"argument": "a", "mask_argument": "m"} if kind in WITH_MASK else {"argument": "a"}
    with pytest.raises(TaskError, match="the arguments of forward names 'a' more than once"):
        task([make(**named), NumericFeature(columns=["y"], argument="a")])
    with pytest.raises(TaskError, match=r"Feature\.argument='a b' cannot be the name of an argument"):
        make(**named | {"argument": "a b"})
    if kind in WITH_MASK:
        with pytest.raises(TaskError, match="but the one after it is not.* set mask_argument, too"):
            make(argument="a")
        assert make(mask_argument="m").mask_argument == "m"


def test_only_sequences_have_a_mask_to_name():
    with pytest.raises(TaskError, match="only sequences have a mask"):
        EVERY_KIND["custom"](mask_argument="m")


def test_one_name_is_not_enough_for_several_tensors(tmp_path):
    encoder = make_encoder(EVERY_KIND["custom"](argument="a"), tmp_path)
    with pytest.raises(HookError, match=r"returned 2 tensors, and its feature names one argument \('a'\)"):
        encoder.encode(pa.record_batch({"x": [1.0]}))

"""User code may fill one buffer again and again: what it gave before stays as it was."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tasks import (
    BatchPolicy,
    ClassificationOutput,
    CustomFeature,
    Hooks,
    MlTask,
    ModelSpec,
    NumericFeature,
)

COUNT = 600
X = [float(row) for row in range(COUNT)]


class FillsTensor:
    """An encoder with one buffer; a negative value makes it raise."""

    def __init__(self):
        self.buffer = np.zeros((COUNT, 1), np.float32)

    def __call__(self, batch):
        values = batch.column(0).to_numpy(zero_copy_only=False)
        if (values < 0).any():
            raise ValueError("negative")
        self.buffer[: len(values), 0] = values
        return torch.from_numpy(self.buffer[: len(values)])


class FillsLists(FillsTensor):
    def __call__(self, batch):
        tensor = super().__call__(batch)
        offsets = pa.array(np.arange(len(tensor) + 1, dtype=np.int32))
        return pa.ListArray.from_arrays(offsets, pa.array(self.buffer[: len(tensor), 0]))


class Echoes(torch.nn.Module):
    """Its second logit is the input, and so is its embedding, in a buffer."""

    def __init__(self):
        super().__init__()
        self.buffer = torch.zeros(COUNT, 1)

    def forward(self, x, _mask=None):
        with torch.inference_mode():
            self.buffer = torch.zeros(COUNT, 1) if self.buffer.is_inference() else self.buffer
            shared = self.buffer[: len(x)]
            shared.copy_(x[:, :1])
        return torch.cat([torch.zeros(len(x), 1), x[:, :1] - 300], dim=1), shared


class YieldsOneDict:
    def predict(self, rows):
        answer = {}
        for row in rows:
            answer.update(row, predicted_class="big" if row["x"] > 300 else "small", confidence=0.5 + row["x"] / 2000)
            yield answer


class GivesOneArray:
    def __init__(self):
        self.confidence = np.zeros(COUNT, np.float32)

    def predict(self, rows):
        raise NotImplementedError

    def predict_batch(self, batch):
        x = batch.column("x").to_numpy()
        self.confidence[: len(x)] = 0.5 + x / 2000
        classes = pa.array(np.where(x > 300, "big", "small"))
        return pa.record_batch({"predicted_class": classes, "confidence": pa.array(self.confidence[: len(x)])})


def network(_weights, _device):
    return Echoes().eval()


def model(_weights, _device, kind):
    return globals()[kind]()


NUMBERS = NumericFeature(columns=["x"])


def predicted(tmp_path, x=X, feature=NUMBERS, factory="network", arguments=None, **changes):
    task = MlTask(
        name="t",
        input="i",
        model=ModelSpec(factory=f"test_reused_buffers:{factory}", arguments=arguments or {}),
        features=[feature],
        labels=["small", "big"],
        batch=BatchPolicy(batch_size=50),
        **changes,
    )
    batches = [pa.record_batch({"x": x[start : start + 100]}) for start in range(0, len(x), 100)]
    return pa.Table.from_batches(predict_map(0, batches, task, model_loader=ModelLoader(tmp_path))).to_pylist()


def check(rows, failed=()):
    assert len(rows) == COUNT
    for row in rows:
        expected = None if row["x"] in failed else "big" if row["x"] > 300 else "small"
        assert row["predicted_class"] == expected


@pytest.mark.parametrize("bad", [[], [7], [7, 8, 350]])
@pytest.mark.parametrize("sequences", [False, True])
def test_an_encoder_with_one_buffer(bad, sequences, tmp_path):
    """A row that makes it raise is looked for in pieces, which must not overwrite each other."""
    x = [-1.0 - row if row in bad else value for row, value in enumerate(X)]
    encoder = f"test_reused_buffers:{'FillsLists' if sequences else 'FillsTensor'}"
    feature = CustomFeature(columns=["x"], encoder=encoder, sequences=sequences)
    check(predicted(tmp_path, x, feature, max_failed_share=1.0), failed={x[row] for row in bad})


def test_a_network_that_gives_its_buffer_as_embedding(tmp_path):
    rows = predicted(tmp_path, output=ClassificationOutput(embedding=True))
    check(rows)
    assert [row["embedding"] for row in rows] == [[value] for value in X]


@pytest.mark.parametrize("kind", ["YieldsOneDict", "GivesOneArray"])
def test_a_model_object_that_gives_one_dict_or_array(kind, tmp_path):
    rows = predicted(tmp_path, factory="model", arguments={"kind": kind})
    check(rows)
    assert [row["confidence"] for row in rows] == pytest.approx([0.5 + value / 2000 for value in X], abs=1e-6)


ONE_DICT, ONE_FRAME = {}, pd.DataFrame({"x": np.zeros(100)})


def fills_dict(row):
    ONE_DICT.clear()
    ONE_DICT.update(row, x=600 - row["x"])
    return ONE_DICT


def fills_frame(frame):
    made = ONE_FRAME.iloc[: len(frame)]
    made["x"].to_numpy()[:] = 600 - frame["x"].to_numpy()
    return made.set_axis(frame.index)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("hook", [{"row_preprocessor": fills_dict}, {"batch_preprocessor": fills_frame}])
def test_a_preprocessor_that_fills_one_dict_or_frame(hook, tmp_path):
    rows = predicted(tmp_path, hooks=Hooks(**hook))
    assert [row["predicted_class"] for row in rows] == ["big" if 600 - value > 300 else "small" for value in X]


def test_a_postprocessor_that_fills_one_dict(tmp_path):
    rows = predicted(tmp_path, hooks=Hooks(row_postprocessor=fills_dict))
    assert [row["x"] for row in rows] == [600 - value for value in X]

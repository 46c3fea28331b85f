"""A small world in which everything that a task can declare decides about its answers: code, files, a table, a task."""

import contextlib
import dataclasses
import importlib
import io
import json
import os
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.local import LocalPredictor
from sparktorch_assets.predict.model.cache import forget_models
from sparktorch_assets.predict.partition import predict_batches
from sparktorch_assets.predict.schema import output_schema
from sparktorch_assets.spark.score.table import plan_table
from sparktorch_assets.tasks import (
    AudioFeature,
    CategoricalFeature,
    CustomFeature,
    Hooks,
    ImageFeature,
    MlTask,
    ModelSpec,
    NumericFeature,
    RowFilter,
    SequenceFeature,
    TensorFeature,
    TextFeature,
)

CODE = {
    "answers_code/__init__.py": '"""A user\'s package."""\n',
    "answers_code/hooks.py": '''\
"""Hooks of a user."""

from answers_code.helper import bonus


def mark(row):
    # A comment.
    if row["confidence"] is None:
        return row
    try:
        size = len(row["predicted_class"])
    except TypeError:
        size = -1
    else:
        size += 1
    return row | {"mark": f"{size}:{bonus(size)}"}


def shift(row):
    return row | {"x": (row["x"] or 0.0) + 1.0}


def shift_frame(frame):
    return frame.assign(x=frame["x"].fillna(0.0) + 2.0)


def without_third(frame):
    return frame[frame["id"] != 3]
''',
    "answers_code/helper.py": """\
from pathlib import Path

LIMITS = {"low": 1, "high": 2}
BONUS = Path(__file__).with_name("bonus.txt")


def bonus(size, *, factor=3):
    total = 0
    for step in range(size):
        if step not in LIMITS.values() and not step < -1:
            total += step * factor
    while total > 100:
        total -= 1
    return total + int(BONUS.read_text())
""",
    "answers_code/bonus.txt": "5",
    "answers_code/model.py": '''\
import torch


def squeeze(value, mask=None):
    """One number a row, which depends on every value and its place."""
    value = value.double().reshape(len(value), -1)
    if mask is not None:
        value = value * mask.double().reshape(len(value), -1)
    return (value * (torch.arange(value.shape[1]) + 1.0)).sum(dim=1)


class Network(torch.nn.Module):
    def __init__(self, start=0.0, scale=0.01):
        super().__init__()
        self.start = start
        self.scale = scale
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, *inputs):
        masks = [value if value.dtype == torch.bool else None for value in inputs[1:]] + [None]
        total = self.start
        for place, (value, mask) in enumerate(zip(inputs, masks)):
            if value.dtype != torch.bool:
                total = total + (place + 1) * torch.sin(squeeze(value, mask) * self.scale)
        logit = torch.sin(total * self.weight).to(self.weight.dtype)
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


class Halved(Network):
    def forward(self, *inputs):
        return super().forward(*inputs) / 2


def build(weights, device, scale=0.01, lookup=None, network="answers_code.model:Network"):
    import importlib

    start = float(weights.read_text()) + float((weights.parent / "side.txt").read_text())
    if lookup is not None:
        start += float((weights.parent / lookup).read_text())
    module, _, name = network.partition(":")
    return getattr(importlib.import_module(module), name)(start, scale)


def build_folder(weights, device):
    return Network(float((weights / "deep" / "start.txt").read_text()))


def build_halved(weights, device, **arguments):
    return Halved(build(weights, device).start)
''',
    "answers_code/encoder.py": """\
import pyarrow as pa
import torch


class Encoder:
    def __init__(self, offset=0.0):
        self.offset = offset

    def __call__(self, batch):
        return torch.tensor([float(x or 0.0) + self.offset for x in batch.column(0).to_pylist()])[:, None]


class Lists(Encoder):
    def __call__(self, batch):
        return pa.array([[float(x or 0.0) + self.offset] * 2 for x in batch.column(0).to_pylist()])
""",
    "answers_nets.py": "from answers_code.model import Network\n\n\nclass Net(Network):\n    FACTOR = 1\n",
}

FILES = {
    "start.txt": "0.1",
    "other.txt": "0.3",
    "side.txt": "0.2",
    "lookup.txt": "0.3",
    "unlisted.txt": "0.4",
    "vocabulary.json": json.dumps({"c": ["a", "b"]}),
    "vocabulary2.json": json.dumps({"c": ["b", "a"]}),
    "folder/deep/start.txt": "0.5",
    "folder/.hidden": "0.6",
    "writer/config.json": "{}",
    "writer/model.safetensors": "",
}


def tokenizer(*words):
    vocabulary = {"[UNK]": 0, **{word: index + 1 for index, word in enumerate(words)}}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}
    return json.dumps({"version": "1.0", "pre_tokenizer": {"type": "Whitespace"}, "model": model})


def png(grey, size=4):
    pixels = (np.arange(size * size, dtype=np.uint8).reshape(size, size) * 3 + grey).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG")
    return out.getvalue()


def wav(samples, seed):
    out = io.BytesIO()
    soundfile.write(out, np.random.default_rng(seed).uniform(-1, 1, samples), 1_000, format="WAV", subtype="FLOAT")
    return out.getvalue()


TABLE = pa.table(
    {
        "id": [1, 2, 3, 4, 5, 6],
        "x": [0.5, -1.0, 2.0, None, 30.0, 4.0],
        "y": [1.0, 2.0, -3.0, 4.0, 5.0, None],
        "c": ["a", "b", "c", None, "a", "b"],
        "t": ["one two three", "two", "three one", "one", None, "two two"],
        "t2": ["x", "one", "y", "z", "two", "w"],
        "s": [[1.0, 2.0, 3.0], [4.0], [], [None, 5.0], None, [6.0, 7.0]],
        "s2": [[9.0], [8.0], [7.0], [6.0], [5.0], [4.0]],
        "v": [[0.0, 1.0], [1.0, 0.0], None, [1.0, None], [0.0, 0.0], [1.0, 1.0]],
        "v2": [[3.0, 1.0], [1.0, 4.0], [5.0, 6.0], [1.0, 7.0], [0.5, 0.0], [1.0, 1.0]],
        "i": [png(0), png(40), png(80), None, png(120), png(160)],
        "w": [wav(4, 0), wav(5, 1), wav(6, 2), None, wav(7, 3), wav(8, 4)],
        "w2": [wav(8, 5), wav(7, 6), wav(6, 7), wav(5, 8), wav(4, 9), wav(9, 9)],
        "i2": [png(9), png(49), png(89), png(3), png(129), png(169)],
    }
)

TASK = MlTask(
    name="answers",
    input="table",
    model=ModelSpec(
        weights="start.txt", factory="answers_code.model:build", files=["side.txt"], trust_code=True,
        arguments={"scale": 0.01, "lookup": "lookup.txt", "network": "answers_nets:Net"},
    ),
    features=[
        NumericFeature(columns=["x", "y"], fill=0.0),
        CategoricalFeature(columns=["c"], vocabulary="vocabulary.json", fill="a"),
        TextFeature(column="t", tokenizer="tokenizer.json", fill=""),
        SequenceFeature(column="s", fill=0.0),
        ImageFeature(column="i", height=4, width=4, channels=1, fill=0.0),
        CustomFeature(columns=["x"], encoder="answers_code.encoder:Encoder", arguments={"offset": 0.5}),
        TensorFeature(column="v", shape=[2], fill=1.0),
        AudioFeature(column="w", sample_rate=1_000, fill=0.003),
    ],
    labels=["no", "yes"],
    hooks=Hooks(row_postprocessor="answers_code.hooks:mark"),
    hook_columns={"mark": "string"},
    where=[RowFilter(column="id", op="<=", value=5)],
)  # fmt: skip


class World:
    """Files of a user under `root`: `code`, `models`, and the table `in.parquet`."""

    def __init__(self, root):
        self.root = root
        self.models.mkdir(parents=True, exist_ok=True)
        for name, text in CODE.items():
            self.write(self.code / name, text)
        for name, text in (FILES | {"tokenizer.json": tokenizer("one", "two", "three")}).items():
            self.write(self.models / name, text)
        self.write(self.models / "tokenizer2.json", tokenizer("three", "two"))
        pq.write_table(TABLE, root / "in.parquet")
        os.utime(root / "in.parquet", (1e9, 1e9))

    code = property(lambda self: self.root / "code")
    models = property(lambda self: self.root / "models")

    @staticmethod
    def write(path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    @contextlib.contextmanager
    def importable(self):
        """The user's code can be imported, anew, and is forgotten afterwards."""

        def forget():
            for name in [name for name in sys.modules if name.partition(".")[0] in ("answers_code", "answers_nets")]:
                del sys.modules[name]
            forget_models()

        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(self.code)
            patch.setattr(sys, "dont_write_bytecode", True)
            importlib.invalidate_caches()
            forget()
            yield
            forget()

    def fingerprint(self, task=TASK, loader=ModelLoader):
        """What names the parts of the prediction table."""
        with self.importable():
            plan = plan_table(
                str(self.root / "in.parquet"),
                task,
                output_table=str(self.root / "out"),
                model_loader=loader(self.models),
            )
            return [shard.fingerprint for shard in plan.new]

    def answers(self, task=TASK, **slot):
        """The rows of the prediction table, computed in this process."""
        with self.importable():
            predictor = LocalPredictor(task, model_loader=ModelLoader(self.models), **slot)
            schema = output_schema(task, TABLE.schema)
            batches = predict_batches(TABLE.to_batches(), predictor=predictor, schema=schema)
            return [
                {
                    name: float(np.float32(value).round(5)) if isinstance(value, float) else value
                    for name, value in row.items()
                }
                for batch in batches
                for row in batch.to_pylist()
            ]


def replaced(task, position, **changes):
    """The task with one feature changed."""
    features = list(task.features)
    features[position] = dataclasses.replace(features[position], **changes)
    return dataclasses.replace(task, features=features)

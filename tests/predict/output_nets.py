"""Networks for each kind of output, over one column `x`, whose results can be told in advance.

A row with `x` above 900 makes them raise; NaN comes of one between 800 and 900.
"""

from collections import namedtuple
from types import SimpleNamespace

import torch

Pair = namedtuple("Pair", ["low", "steps"])  # noqa: PYI024  (what a network may return)


class Numbers(torch.nn.Module):
    """`width` numbers per row: x, x + 1, ..."""

    def __init__(self, width, form="tensor"):
        super().__init__()
        self.width, self.form = width, form
        self.bias = torch.nn.Parameter(torch.arange(width, dtype=torch.float32), requires_grad=False)

    def forward(self, x_B1):
        if (x_B1 > 900).any():
            raise ValueError("a poisoned row")
        values = (x_B1 + self.bias).masked_fill((x_B1 > 800) & (x_B1 <= 900), torch.nan)
        if self.form == "flat":
            return values[:, 0]
        if self.form == "dict":
            return {"low": values[:, 0], "steps": values, "grid": values[:, None, :].expand(-1, 2, -1)}
        if self.form == "named":
            return Pair(values[:, 0], values)
        if self.form == "object":
            return SimpleNamespace(logits=values)
        return values


class Tokens(torch.nn.Module):
    """One vector per token: (token, 1, token)."""

    def forward(self, ids_BT, mask_BT):
        ids = ids_BT.float()
        return SimpleNamespace(last_hidden_state=torch.stack([ids, torch.ones_like(ids), ids], dim=2))


class Chosen(torch.nn.Module):
    """Whatever `make` gives for the weight, which is 1, and the arguments."""

    def __init__(self, make):
        super().__init__()
        self.make = make
        self.one = torch.nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, *arguments):
        return self.make(self.one, *arguments)


CHOICES = {
    "double": lambda _one, x: {"a": x[:, 0].double() * 1e300},
    "probability": lambda _one, x: {"a": torch.sigmoid(x[:, 0])},
    "long": lambda _one, x: {"a": torch.full((len(x),), 2**40)},
    "whole": lambda _one, x: torch.full((len(x),), 2**24 + 1),
    "tuple": lambda _one, x: (x[:, 0],),
    "nan embedding": lambda one, x: (torch.cat([x, -x], dim=1), torch.cat([1 / x, x], dim=1)),
    "equal": lambda _one, x: torch.zeros(len(x), 5),
    "around zero": lambda one, x: one.expand(len(x), 1) * 1.003 - 1,
    "logarithm": lambda one, x: one.expand(len(x), 1) * 20.03,
    "overflow": lambda _one, x: x * 1e5,
    "nan padding": lambda _one, ids, mask: (
        torch.stack([ids, ids + 1], dim=2).float().masked_fill(~mask[:, :, None], torch.nan)
    ),
}


def chosen(_path, _device, name):
    return Chosen(CHOICES[name])


def shorter_vectors(frame):
    frame["embedding"] = [
        vector[: 1 + place % 2] for place, vector in zip(frame["id"], frame["embedding"], strict=True)
    ]
    return frame


def null_labels(row):
    return row | {"predicted_labels": [None, "a"]}


def numbers(_path, _device, **arguments):
    return Numbers(**arguments)


def tokens(_path, _device):
    return Tokens()


class Answers:
    """A model object that gives the columns that it is told to."""

    def __init__(self, columns):
        self.columns = columns

    def predict(self, rows):
        for row in rows:
            yield row | {name: value[int(row["x"])] for name, value in self.columns}


HELD = []
"""The labels that `held_labels` gives; an array cannot be an argument of a task."""


class HeldLabels:
    def predict(self, rows):
        for row in rows:
            yield row | {"predicted_labels": HELD}


def held_labels(_path, _device):
    return HeldLabels()


def answers(_path, _device, **columns):
    return Answers(list(columns.items()))


class Echo(torch.nn.Module):
    """The first four tokens of each prompt, as new ones."""

    def __init__(self, form):
        super().__init__()
        self.form = form

    def forward(self, ids_BT, mask_BT):
        ids_BT = torch.nn.functional.pad(ids_BT.masked_fill(~mask_BT, -1), (0, 4), value=-1)[:, :4]
        if self.form == "floats":
            return ids_BT.float()
        return ids_BT if self.form == "ids" else {"sequences": ids_BT, "stopped": mask_BT.sum(dim=1) <= 4}


def echo(_path, _device, form):
    return Echo(form)

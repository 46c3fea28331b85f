"""The models of test_peer_cases, for this library and for Spark's `predict_batch_udf`; workers import this file by name.

Each case has one function of arrays or tensors that both use: they compute alike.
"""

import functools
import itertools

import numpy as np
import torch


def first(x):
    return {"preds": x[:, 0] if x.ndim == 2 else x}


def first_two(x):
    return {"a1": x[:, 0], "b1": x[:, 1]}


def both(in1, in2):
    return {"a1": in1.reshape(-1), "b1": in2.reshape(-1)}


def batch_length(x):
    lengths = np.full(len(x), len(x), dtype=np.int32)
    return {"preds": torch.from_numpy(lengths) if isinstance(x, torch.Tensor) else lengths}


def row_sum(x):
    return {"preds": x.sum(1)}


def sum_of_four(a, b, c, d):
    return {"preds": (a + b + c + d).reshape(-1)}


def sum_of_three(a, b, c):
    return {"preds": (a + b + c).reshape(-1)}


def sum_of_two_tensors(t1, t2):
    return {"preds": t1.sum(1) + t2.sum(1)}


def mixed_sum(a, b, c, d, t1):
    return {"preds": (a + b + c + d).reshape(-1) + t1.sum(1)}


def multiples(x):
    return {"x2": x.reshape(-1) * 2, "x3": x.reshape(-1) * 3}


def multiples_with_array(x, y):
    return {"x2": x.reshape(-1) * 2, "y3": y * 3}


def malformed_array(x, y):
    return {"x2": x.reshape(-1) * 2, "y3": y[:, :, None] * 3}


def typed(x):
    """Values of each result type, from a column of whole numbers."""
    x = x.reshape(-1).double()
    rows = torch.stack([x, x + 0.5], dim=1)
    return {
        "int": x.int() + 1, "long": x.long() + 2**40, "float": x.float() / 3, "double": x / 3, "boolean": x % 2 == 0,
        "ints": rows.int(), "longs": rows.long() + 2**40, "floats": rows.float() / 3, "doubles": rows / 3,
        "booleans": rows % 2 == 0, "matrix": torch.stack([rows, -rows, rows * 2], dim=2),
    }  # fmt: skip


def parity(x):
    odd = x.reshape(-1) % 2 == 1
    return torch.stack([~odd, odd], dim=1) * 8.0 - 4.0


def single(x):
    return x * 2


class Net(torch.nn.Module):
    def __init__(self, case):
        super().__init__()
        self.case = case

    def forward(self, *arguments, **named):
        return self.case(*arguments, **named)


def network(_weights, _device, case):
    return Net(globals()[case])


_LOADS = itertools.count(1)


def counts_loads(_weights, _device, model):
    """A network that returns the number of models that its process had loaded when it was loaded."""
    number = next(_LOADS)
    return Net(lambda x: {"preds": torch.full((len(x),), number)})


class Rows:
    """A model object that returns rows."""

    def __init__(self, answer):
        self._answer = answer

    def predict(self, rows):
        return map(self._answer, rows)


def row_objects(_weights, _device, case):
    return Rows({
        "multiples": lambda row: {"x2": row["a"] * 2, "x3": row["a"] * 3},
        "multiples_with_array": lambda row: {"x2": row["a"] * 2, "y3": [value * 3 for value in row["bcd"]]},
        "texts": lambda row: {"text": f"class{row['x']}", "texts": [str(row["x"]), "ü", None][: 2 + (row["x"] == 13)]},
        "struct": lambda row: {
            "r1": 1, "r2": 1.5, "r3": [1, 2], "r4": np.array([1.5, 2.5]), "r5": (1.5, 2.5), "r6": True, "r7": "abc"
        },
        "several types": lambda row: {"int": 1, "long": 2, "text": "class1", "float": 0.1, "double": 0.2, "flag": True},
    }[case])  # fmt: skip


def as_udf(case):
    """The same function for `predict_batch_udf`: a dict for a struct, an array for a single column."""

    def make():
        @functools.wraps(case)  # the number of its parameters says how many inputs the model has
        def predict(*inputs):
            found = case(*inputs)
            return found["preds"] if list(found) == ["preds"] else found

        return predict

    return make

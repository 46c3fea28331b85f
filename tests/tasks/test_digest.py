"""Digests: whatever changes predictions changes them, whatever does not leaves them."""

import dataclasses
import datetime as dt
import functools
import importlib
import sys
from decimal import Decimal
from pathlib import Path, PurePosixPath

import answers_world
import numpy as np
import pytest
import torch
from dagster import ComponentTree

from sparktorch_assets.errors import ModelError, TaskError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.tasks import (
    BatchPolicy,
    CategoricalFeature,
    ClassificationOutput,
    CustomFeature,
    Hooks,
    MlTask,
    ModelSpec,
    NumericFeature,
    RowFilter,
)
from sparktorch_assets.tasks.digest import digest_of, model_digest, task_digest
from sparktorch_assets.tasks.files.model_files import file_sha256
from sparktorch_assets.tasks.hooks import HOOKS

TASK = MlTask(
    name="t",
    input="table",
    model=ModelSpec(weights="m.pt2", trust_code=True),
    features=[NumericFeature(columns=["x"])],
    labels=["0", "1"],
)


@pytest.mark.promise("O155")
@pytest.mark.parametrize(
    "change",
    [
        {"features": [NumericFeature(columns=["y"])]},
        {"features": [NumericFeature(columns=["x"], fill=0.0)]},
        {"labels": ["1", "0"]},
        {"where": [RowFilter(column="x", op=">", value=1)]},
        {"keep_columns": ["x"]},
        {"output": ClassificationOutput(scores=True)},
        {"output_prefix": "p_"},
        {"truth": "y"},
        {"code_version": "2"},
        {"hooks": Hooks(row_preprocessor="json:loads")},
    ],
)
def test_what_changes_the_table_changes_the_digest(change):
    """Features, labels, filters, columns, hooks and the code version each count."""
    assert task_digest(dataclasses.replace(TASK, **change)) != task_digest(TASK)


@pytest.mark.parametrize(
    "change",
    [{"description": "x"}, {"cron": "0 1 * * *"}, {"batch": BatchPolicy(batch_size=7)}, {"max_failed_share": 0.5}],
)
def test_what_does_not_change_the_table_does_not_change_the_digest(change):
    """Descriptions, schedules, batch sizes and limits leave predictions as they are."""
    assert task_digest(dataclasses.replace(TASK, **change)) == task_digest(TASK)


PINNED_DIGESTS = {
    "cancellation": "03459b2780069110135dded395280b32e042faabfaa34f890fa31b21e9ab4bd6",
    "digit": "4a4eb4d0f8ecde1fb5a890b0804cf83c21dae22313ef28264244960a509f5c9b",
    "digit_challenger": "48af31543b86598e95daa6353947b1bda5096406bdcf4a3fcf8503984ec5c62d",
    "language": "10239ddd3e9c539f73ee995a2c4db0286f5de65a46f5e3085c19637b5789bbcd",
    "late_arrival": "18b2bd0ea5e43bb5d1f7a167a8690118301dbcd7097058a61aed3726d1107edc",
}
"""The digests of the sample tasks before features had any fields of `ADDED`, and tasks a `truth`."""


@pytest.mark.parametrize("name", PINNED_DIGESTS)
def test_added_fields_leave_the_digests_of_tasks_that_do_not_use_them(name):
    """Otherwise a new version of this package would score every table again, and change no row."""
    component = ComponentTree.for_project(Path(__file__).parents[2]).load_component(name)
    assert task_digest(dataclasses.replace(component.task, truth=None)) == PINNED_DIGESTS[name]


def test_every_kind_of_feature_keeps_its_digest():
    """The same, for one task with every kind of feature that there was before."""
    old = dataclasses.replace(
        answers_world.TASK, features=answers_world.TASK.features[:6], hooks=Hooks(), hook_columns=()
    )
    assert task_digest(old) == "5d5388d3d9724f235ee7d6532e8ff0acbcdac62ba712e0d661e015ca5e58ce20"


def test_hook_code_counts_but_comments_do_not(tmp_path, monkeypatch):
    """A changed line in the hook's module, also in a function that it calls, counts; comments and layout do not."""
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "a_users_hooks.py"
    task = dataclasses.replace(TASK, hooks=Hooks(row_preprocessor="a_users_hooks:clean"))

    def digest(source):
        module.write_text(source)
        sys.modules.pop("a_users_hooks", None)
        return task_digest(task)

    first = digest("def helper(row):\n    return row\ndef clean(row):\n    return helper(row)\n")
    commented = digest(
        "# a comment\ndef helper(row):\n    return row  # same\n\n\ndef clean(row):\n    return helper(row)\n"
    )
    changed = digest("def helper(row):\n    return None\ndef clean(row):\n    return helper(row)\n")
    assert first == commented
    assert first != changed
    assert "a_users_hooks" not in sys.modules, "the user's module was imported"


def marked(row):
    return row


class Marks:
    def __call__(self, row):
        return row

    def mark(self, row):
        return row


@pytest.mark.promise("M17")
@pytest.mark.parametrize(
    "hook",
    [marked, lambda row: row, functools.partial(marked), Marks(), Marks().mark, functools.lru_cache(marked), len],
)
@pytest.mark.parametrize("field", HOOKS)
def test_hooks_that_are_function_objects_are_refused_with_the_way_out(hook, field):
    """A function's code has no name to go by: defaults, closures, wrapped functions and globals would go unseen."""
    task = dataclasses.replace(TASK, hooks=Hooks(**{field: hook}))
    with pytest.raises(TaskError, match=rf"Hooks\.{field} is a function object .*'my_module:my_function'"):
        task_digest(task)


VALUES = [
    (torch.float32, torch.float16),
    (dt.date(2013, 1, 1), dt.date(2013, 1, 2)),
    (dt.date(2013, 1, 1), dt.datetime(2013, 1, 1)),  # noqa: DTZ001
    (Decimal("1.0"), Decimal("1.00")),
    (b"a", b"b"),
    ({"a", "b"}, {"a", "c"}),
    (PurePosixPath("a"), PurePosixPath("b")),
    (1, 1.0),
    (1, True),
    (float("nan"), None),
    ([1, 2], [2, 1]),
]


@pytest.mark.parametrize(("one", "two"), VALUES)
def test_arguments_of_every_plain_type_count(one, two, tmp_path):
    """What YAML makes of a date, and what Python users pass; of filters and vocabularies, too."""
    (tmp_path / "m.pt2").write_bytes(b"weights")

    def digest(value):
        model = dataclasses.replace(TASK.model, arguments={"value": value})
        return model_digest(dataclasses.replace(TASK, model=model), tmp_path)

    assert digest(one) == digest(one) != digest(two)
    custom = CustomFeature(columns=["x"], encoder="json:loads")
    encoded = [
        dataclasses.replace(TASK, features=[dataclasses.replace(custom, arguments={"a": v})]) for v in (one, two)
    ]
    assert task_digest(encoded[0]) != task_digest(encoded[1])


def test_dates_in_filters_and_vocabularies_count():
    day, next_day = dt.date(2013, 1, 1), dt.date(2013, 1, 2)
    for make in (
        lambda value: {"where": [RowFilter(column="x", op=">", value=value)]},
        lambda value: {"features": [CategoricalFeature(columns=["c"], vocabulary={"c": [value]})]},
    ):
        one, two = (task_digest(dataclasses.replace(TASK, **make(value))) for value in (day, next_day))
        assert one != two


@pytest.mark.parametrize("value", [object(), torch.zeros(2000), lambda: 1, np.zeros(2000)])
def test_arguments_that_cannot_be_compared_are_refused_by_name_and_shared_with_nobody(value, tmp_path):
    """Their `repr` leaves out values, or is an address that another object gets later."""
    (tmp_path / "m.pt2").write_bytes(b"weights")
    model = dataclasses.replace(TASK.model, arguments={"value": value})
    task = dataclasses.replace(TASK, model=model)
    with pytest.raises(TaskError, match=r"task 't': ModelSpec.arguments.* holds a .* whose value cannot be compared"):
        model_digest(task, tmp_path)
    assert ModelLoader(tmp_path).cache_key(task) is None


VALUE_CLASSES = """
from dataclasses import dataclass
from enum import Enum
from counted_helper import FACTOR

class Size(Enum):
    BIG = 10

@dataclass
class Config:
    width: int = 3

    def doubled(self):
        return self.width * 2
"""


@pytest.mark.parametrize(
    ("old", "new"), [("BIG = 10", "BIG = 20"), ("* 2", "* 3"), ("FACTOR = 1", "FACTOR = 2"), ("", "")]
)
@pytest.mark.parametrize(
    "make", [lambda module: module.Size.BIG, lambda module: module.Config(), lambda module: [(module.Config(5),)]]
)
@pytest.mark.parametrize("where", ["arguments", "state"])
def test_the_code_of_the_values_classes_counts(make, old, new, where, tmp_path, monkeypatch):
    """An enumeration's members, a dataclass' methods, and what their module imports."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "m.pt2").write_bytes(b"weights")

    def digest(old, new):
        for name, text in (("counted_values", VALUE_CLASSES), ("counted_helper", "FACTOR = 1")):
            (tmp_path / f"{name}.py").write_text(text.replace(old, new) if old else text)
            sys.modules.pop(name, None)
        value = make(importlib.import_module("counted_values"))
        if where == "arguments":
            model = dataclasses.replace(TASK.model, arguments={"value": value})
            return model_digest(dataclasses.replace(TASK, model=model), tmp_path)
        loader = ModelLoader(tmp_path)
        loader.value = value
        return digest_of([loader.digest(TASK), loader.code(TASK)])

    first = digest("", "")
    assert (digest(old, new) != first) == bool(old)
    sys.modules.pop("counted_values"), sys.modules.pop("counted_helper")


def test_a_class_of_a_notebook_is_refused(tmp_path):
    """Its code has no name to go by."""
    (tmp_path / "m.pt2").write_bytes(b"weights")

    @dataclasses.dataclass
    class Local:
        width: int = 3

    model = dataclasses.replace(TASK.model, arguments={"value": Local()})
    with pytest.raises(TaskError, match="defined in a function, a script or a notebook.*Put the class into a module"):
        model_digest(dataclasses.replace(TASK, model=model), tmp_path)


@pytest.mark.promise("M11")
def test_a_path_among_the_arguments_names_a_file_as_a_string_does(tmp_path):
    (tmp_path / "m.pt2").write_bytes(b"weights")
    (tmp_path / "table.csv").write_text("1")
    for given in ("table.csv", PurePosixPath("table.csv"), [("table.csv",)]):
        (tmp_path / "table.csv").write_text("1")
        task = dataclasses.replace(TASK, model=dataclasses.replace(TASK.model, arguments={"path": given}))
        before = model_digest(task, tmp_path)
        (tmp_path / "table.csv").write_text("2")
        assert model_digest(task, tmp_path) != before


@pytest.mark.promise("M11")
def test_model_digest_follows_every_file(tmp_path):
    """Weights and vocabularies count by content; touching a file without changing it does not."""
    (tmp_path / "m.pt2").write_bytes(b"weights")
    (tmp_path / "v.json").write_text('{"c": ["a"]}')
    task = dataclasses.replace(TASK, features=[*TASK.features, CategoricalFeature(columns=["c"], vocabulary="v.json")])
    first = model_digest(task, tmp_path)
    (tmp_path / "m.pt2").write_bytes(b"weights")
    assert model_digest(task, tmp_path) == first
    (tmp_path / "v.json").write_text('{"c": ["b"]}')
    assert model_digest(task, tmp_path) != first


def test_missing_weights_name_what_lies_beside_them(tmp_path):
    """The error names the path, the nearest file and where the path is configured."""
    (tmp_path / "model.pt2").write_bytes(b"")
    with pytest.raises(ModelError, match=r"there is no file .*m\.pt2; .*model\.pt2.*models_root"):
        model_digest(TASK, tmp_path)


@pytest.mark.promise("M4")
def test_altered_weights_are_refused(tmp_path):
    """A file whose sha256 is not the declared one is refused with both digests."""
    (tmp_path / "m.pt2").write_bytes(b"weights")
    wrong = "0" * 64
    task = dataclasses.replace(TASK, model=ModelSpec(weights="m.pt2", sha256=wrong))
    with pytest.raises(ModelError, match=f"{file_sha256(tmp_path / 'm.pt2')}.*{wrong}"):
        model_digest(task, tmp_path)

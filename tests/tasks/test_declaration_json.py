"""A task that is written as JSON and read again is the same task; what is not one of ours is refused."""

import datetime as dt
import json
import math
from dataclasses import replace
from decimal import Decimal
from enum import StrEnum
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_every_input_counts import ENTRIES, Entry

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks import (
    BatchPolicy,
    CategoricalFeature,
    ClassificationOutput,
    ColumnsOutput,
    CustomFeature,
    EmbeddingOutput,
    Execution,
    Hooks,
    ImageFeature,
    MlTask,
    ModelSpec,
    MultilabelOutput,
    NumericFeature,
    RegressionOutput,
    RowFilter,
    SequenceFeature,
    SlotPolicy,
    TensorFeature,
    TextFeature,
)
from sparktorch_assets.tasks.declaration_json import from_json, to_json
from sparktorch_assets.tasks.digest import digest_of, task_digest

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=5)
COLUMNS = st.lists(TEXT, min_size=1, max_size=3, unique=True)
FILL = st.none() | st.floats(allow_nan=False) | st.integers(-(2**60), 2**60)
SCALAR = (
    st.text(max_size=5) | st.binary(max_size=4) | st.booleans() | st.integers() | st.floats(allow_nan=False)
    | st.dates() | st.decimals(allow_nan=False)
    | st.datetimes(timezones=st.sampled_from([None, dt.UTC, dt.timezone(dt.timedelta(hours=-3))])).map(
        lambda time: time.replace(fold=0)  # ISO text does not have it, and equality ignores it
    )
)  # fmt: skip
PATHS = st.sampled_from(["a.safetensors", "sub/ü.bin", "/abs/m.pt2"])
ARGUMENTS = st.dictionaries(
    TEXT, st.recursive(st.none() | SCALAR | PATHS.map(Path), lambda inner: st.lists(inner, max_size=3)), max_size=3
)
CODE = st.sampled_from([None, "my_package.code:thing", "nets:Net.Inner"])

FEATURES = st.one_of(
    st.builds(NumericFeature, columns=COLUMNS, fill=FILL),
    COLUMNS.flatmap(
        lambda columns: st.builds(
            CategoricalFeature,
            columns=st.just(columns),
            vocabulary=PATHS | st.fixed_dictionaries({name: st.lists(SCALAR, max_size=3) for name in columns}),
            fill=st.none() | TEXT,
        )
    ),
    st.builds(TextFeature, column=TEXT, tokenizer=PATHS | PATHS.map(Path), max_tokens=st.integers(1, 99),
              template=st.sampled_from([None, "query: {text}"]), type_ids=st.booleans(),
              truncation_side=st.sampled_from(["right", "left"]), padding_id=st.none() | st.integers(0, 9)),
    st.builds(SequenceFeature, column=TEXT, fill=FILL, max_length=st.integers(1, 99)),
    st.builds(TensorFeature, column=TEXT, shape=st.lists(st.integers(1, 9), min_size=1), fill=FILL),
    st.builds(ImageFeature, column=TEXT, height=st.integers(1, 9), width=st.integers(1, 9),
              mean=st.lists(st.floats(0, 1), min_size=3, max_size=3), background=st.none() | st.floats(0, 1)),
    st.builds(CustomFeature, columns=COLUMNS, encoder=st.just("my_package:Encoder"), arguments=ARGUMENTS),
)  # fmt: skip
LABELLED = st.builds(
    ClassificationOutput, scores=st.booleans(), top_k=st.sampled_from([None, 1, 2])
) | st.builds(MultilabelOutput, threshold=st.floats(0, 1), thresholds=st.just({"a": 0.25}))  # fmt: skip
UNLABELLED = (
    st.builds(RegressionOutput, names=COLUMNS, scale=st.floats(0.1, 9), exp=st.booleans())
    | st.builds(RegressionOutput, quantiles=st.just([0.1, 0.5]), minimum=st.none() | st.floats(-9, 9))
    | st.builds(EmbeddingOutput, length=st.integers(1, 9), pooling=st.sampled_from(["none", "cls", "mean"]))
    | st.builds(
        ColumnsOutput, columns=st.dictionaries(TEXT, st.sampled_from(["long", "list<list<float>>"]), min_size=1)
    )
)
MODELS = st.builds(
    ModelSpec, weights=st.none() | PATHS, factory=st.just("my_package:build"), arguments=ARGUMENTS,
    files=st.lists(PATHS, unique=True), trust_code=st.booleans(),
) | st.builds(
    ModelSpec, weights=st.just(Path("a.safetensors")), architecture=st.just("nets:Net"), arguments=ARGUMENTS,
    sha256=st.none() | st.just("0" * 64),
)  # fmt: skip
FILTERS = st.builds(
    RowFilter, column=TEXT, op=st.sampled_from(["==", "<"]), value=SCALAR
) | st.builds(RowFilter, column=TEXT, op=st.just("in"), value=st.lists(SCALAR, min_size=1))  # fmt: skip
POLICIES = {
    "model": MODELS,
    "features": st.lists(FEATURES, min_size=1, max_size=3),
    "where": st.lists(FILTERS, max_size=2),
    "batch": st.builds(BatchPolicy, batch_size=st.none() | st.integers(1, 9), deduplicate=st.booleans()),
    "execution": st.builds(Execution, precision=st.sampled_from(["fp32", "bf16"]), min_agreement=st.none() | st.floats(0, 1)),
    "hooks": st.builds(Hooks, row_preprocessor=CODE, batch_postprocessor=CODE),
    "description": st.text(),
    "cron": st.sampled_from([None, "0 3 * * *"]),
    "output_prefix": st.sampled_from(["", "p_"]),
    "max_failed_share": st.floats(0, 1),
    "max_failed_rows": st.none() | st.integers(0, 9),
}  # fmt: skip


@st.composite
def tasks(draw):
    labelled = draw(st.booleans())
    given_fields = {name: draw(values) for name, values in POLICIES.items()}
    output, labels = (LABELLED, ["a", "ü"]) if labelled else (UNLABELLED, [])
    return MlTask(name="drawn", output=draw(output), labels=labels, **given_fields)


def there_and_back(declaration):
    """As a file would hold it: ASCII text on one line, with nothing that only Python reads as JSON."""
    text = json.dumps(to_json(declaration), allow_nan=False)
    assert text.isascii()
    assert "\n" not in text
    return from_json(json.loads(text), type(declaration))


@pytest.mark.promise("M211")
@given(tasks())
def test_a_drawn_task_comes_back_equal(task):
    """With the same digests of what changes predictions, so that nothing is scored again."""
    found = there_and_back(task)
    assert found == task
    assert repr(found.features) == repr(task.features)
    assert digest_of(found.model.arguments) == digest_of(task.model.arguments)
    if not (task.hooks.preprocesses or task.hooks.postprocesses):  # their modules are looked for
        assert task_digest(found) == task_digest(task)


@pytest.mark.parametrize(("kind", "field"), ENTRIES, ids=lambda part: getattr(part, "__name__", part))
def test_no_field_is_lost(kind, field):
    """The table that names every field of every declaration gives each at least one value of its own."""
    for entry in ENTRIES[kind, field]:
        if isinstance(entry, Entry):
            assert there_and_back(entry.after) == entry.after
            assert there_and_back(entry.before) == entry.before != entry.after


def test_a_slot_policy_comes_back_too():
    policy = SlotPolicy(device="cpu", models_per_gpu=3, slots=7)
    assert there_and_back(policy) == policy


TASK = MlTask(
    name="plain",
    model=ModelSpec(factory="my_package:build", arguments={"scale": 2}),
    features=[NumericFeature(columns=["x"], fill=np.float64(math.inf))],
    labels=["no", "yes"],
)


def test_a_field_that_is_left_out_has_its_default():
    """As in what a version without the field has written."""
    data = to_json(TASK)
    del data["declaration"]["preview_rows"], data["declaration"]["features"][0]["argument"]
    assert from_json(data, MlTask) == TASK


class Colour(StrEnum):
    RED = "red"


def hook(row):
    return row


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            replace(TASK, hooks=Hooks(row_preprocessor=hook)),
            r"MlTask 'plain'\.hooks\.row_preprocessor is a function object \(hook\), .*name it: Hooks\(row_preprocessor='my_module:my_function'\)",
        ),
        (
            replace(TASK, model=replace(TASK.model, arguments={"colours": [Colour.RED]})),
            r"MlTask 'plain'\.model\.arguments\[0\]\[1\]\[0\] is a test_declaration_json\.Colour, which cannot be saved",
        ),
        (replace(TASK, model=replace(TASK.model, arguments={"s": {1}})), r"is a builtins\.set, which cannot be saved"),
    ],
)  # fmt: skip
def test_what_only_code_could_restore_is_refused(task, message):
    with pytest.raises(TaskError, match=message):
        to_json(task)


def edited(edit):
    data = json.loads(json.dumps(to_json(TASK)))
    edit(data)
    return data


def rename(declaration, old, new):
    declaration[new] = declaration.pop(old)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "version None of the format, and this version of sparktorch-assets reads version 1"),
        (None, "version None"),
        (edited(lambda d: d.update(version=2)), "version 2 of the format"),
        (edited(lambda d: d.update(more=1)), "its keys are version, declaration, more"),
        (edited(lambda d: d.update(declaration={"class": "SlotPolicy"})), "the saved MlTask is a SlotPolicy"),
        (edited(lambda d: d.update(declaration=[])), "the saved MlTask is a tuple"),
        (edited(lambda d: d["declaration"].update({"class": "subprocess.Popen"})), "class 'subprocess.Popen', which is no decl"),
        (edited(lambda d: d["declaration"].update({"class": None})), "class None"),
        (edited(lambda d: d["declaration"].pop("class")), "class None"),
        (edited(lambda d: d["declaration"]["model"].update({"class": "ModelSpek"})), "MlTask.model names the class 'ModelSpek'.*did you mean 'ModelSpec'"),
        (edited(lambda d: rename(d["declaration"], "labels", "lables")), "MlTask has no field 'lables'; did you mean 'labels'"),
        (edited(lambda d: d["declaration"].pop("features")), "MlTask lacks the field 'features'"),
        (edited(lambda d: d["declaration"].update(preview_rows="ten")), r"preview_rows='ten' \(str\); expected a whole number"),
        (edited(lambda d: d["declaration"].update(model={"class": "Execution"})), r"model=Execution"),
        (edited(lambda d: d["declaration"].update(cron={"type": "pickle", "value": "gASV"})), "a value of type 'pickle'; Known: bytes"),
        (edited(lambda d: d["declaration"].update(cron={"type": "date", "value": "2013"})), "'2013' is no date"),
        (edited(lambda d: d["declaration"].update(cron={"type": "decimal", "value": "x"})), "'x' is no decimal"),
    ],
)  # fmt: skip
@pytest.mark.promise("M212")
def test_data_that_is_no_task_is_refused(data, message):
    """By a message that says where; no name in it is imported."""
    with pytest.raises(TaskError, match=message):
        from_json(data, MlTask)


def test_decimals_keep_their_digits():
    task = replace(TASK, where=[RowFilter(column="x", value=Decimal("1.50"))])
    assert str(there_and_back(task).where[0].value) == "1.50"

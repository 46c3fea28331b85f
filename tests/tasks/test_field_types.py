"""Every field of every declaration: what it is given is of its type in the end, or refused with the field's name."""

import dataclasses
import math
from pathlib import PurePath
from typing import get_type_hints

import numpy as np
import pytest
from pydantic import TypeAdapter

from sparktorch_assets import tasks
from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks import (
    AudioFeature,
    AuditPolicy,
    BatchPolicy,
    CategoricalFeature,
    ChallengerOf,
    ClassificationOutput,
    ColumnsOutput,
    CustomFeature,
    DetectionOutput,
    DynamicPartitions,
    EmbeddingOutput,
    Execution,
    GenerationOutput,
    Hooks,
    ImageFeature,
    InputTable,
    MlTask,
    ModelSpec,
    MultilabelOutput,
    NumericFeature,
    OutputColumn,
    RegressionOutput,
    RowFilter,
    SequenceFeature,
    SlotPolicy,
    SourceColumn,
    StaticPartitions,
    TensorFeature,
    TextFeature,
    TimePartitions,
    TokenClassificationOutput,
)

NUMERIC = NumericFeature(columns=["x"])
MODEL = ModelSpec(weights="m.pt2")

NEEDED = {
    AudioFeature: {"column": "a"},
    AuditPolicy: {},
    BatchPolicy: {},
    CategoricalFeature: {"columns": ["c"], "vocabulary": {"c": ["a"]}},
    ChallengerOf: {"task": "champion", "join_on": ["a"]},
    ClassificationOutput: {},
    ColumnsOutput: {"columns": {"a": "int"}},
    CustomFeature: {"columns": ["x"], "encoder": "json:loads"},
    DetectionOutput: {},
    DynamicPartitions: {"column": "c"},
    EmbeddingOutput: {"length": 2},
    GenerationOutput: {"do_sample": True},
    Execution: {},
    Hooks: {},
    ImageFeature: {"column": "i", "height": 2, "width": 2},
    InputTable: {"name": "t", "source": ["a/*"], "format": "csv", "columns": {"a": "int"}},
    MlTask: {"name": "t", "input": "i", "model": MODEL, "features": [NUMERIC], "labels": ["0", "1"]},
    ModelSpec: {"weights": "m.pt2"},
    MultilabelOutput: {},
    NumericFeature: {"columns": ["x"]},
    OutputColumn: {"name": "a", "type": "int"},
    RegressionOutput: {},
    RowFilter: {"column": "a", "value": 1},
    SequenceFeature: {"column": "s"},
    SlotPolicy: {},
    SourceColumn: {"type": "int"},
    StaticPartitions: {"column": "c", "values": ["a", "b"]},
    TensorFeature: {"column": "v", "shape": [2]},
    TokenClassificationOutput: {},
    TextFeature: {"column": "t"},
    TimePartitions: {"by": "month", "column": "at", "start": "2013-01-01"},
}
"""Each declaration with what it cannot do without."""

VALUES = [
    *[3, -1, 0, 1.5, -0.5, math.nan, math.inf, 10**400, True, False, None],
    *["", "x", "no", "2", b"x", PurePath("a/b"), np.int64(3), np.bool_(True), np.array(3), np.array(["a", "b"])],
    *[[], (), {}, set(), [1], ["a"], ["a", "a"], [""], [None], [[1]], ["ab"], ("a", 1), [("a", 1)], [("a",)], {"a": 1}],
    *[{"a": "bc"}, {"a": {"b": 1}}, {1: 2}, {"c": "abc"}, {"c": [object()]}, {"": 1}, {"a"}, iter(["a"]), range(2)],
    *[object(), object, len, NUMERIC, [NUMERIC], MODEL, RowFilter(column="a", value=1), BatchPolicy(), Execution(), Hooks()],
]  # fmt: skip


def test_every_declaration_is_here():
    public = {getattr(tasks, name) for name in tasks.__all__}
    assert {kind for kind in public if dataclasses.is_dataclass(kind)} == NEEDED.keys()


@pytest.mark.parametrize(
    ("kind", "field"), [(kind, field.name) for kind in NEEDED for field in dataclasses.fields(kind)]
)
def test_a_field_holds_its_type_or_the_declaration_is_refused(kind, field):
    """Whatever is given: a TaskError that names the field, or a value of the annotated type, by pydantic's strict rules."""
    strict = TypeAdapter(get_type_hints(kind)[field])
    refused = []
    for value in VALUES:
        try:
            made = kind(**NEEDED[kind] | {field: value})
        except TaskError as error:
            refused.append(str(error))
            continue
        strict.validate_python(getattr(made, field), strict=True)
        hash(made)
    assert len(refused) > len(VALUES) / 2, "what takes nearly everything checks nothing"
    assert [message for message in refused if field not in message or len(message) > 600] == []

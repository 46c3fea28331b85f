"""Every field of every component's YAML form, each with values of every kind: a table of declarations."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from dagster.components.component.component import Component

from sparktorch_assets.orchestration.components.declared import InputTableComponent, MlTaskComponent

Place = tuple[str | int, ...]
"""Keys and indices that lead to a value."""

UNKNOWN = "colour"
"""A key that no object has."""

_TASK = """\
input: events
model: {weights: a/b.safetensors, architecture: 'torch.nn:Linear', arguments: {in_features: 2}}
features: [{kind: numeric, columns: [a]}]
labels: ['0', '1']
where: [{column: a, op: in, value: [1]}]
keep_columns: [a]
output: {kind: classification, scores: true}
hook_columns: {f: double}
hooks: {row_preprocessor: 'json:loads'}
batch: {}
execution: {}
"""
_OTHER_FEATURES = (
    "{kind: categorical, columns: [c], vocabulary: {c: [x, y]}}",
    "{kind: text, column: t}",
    "{kind: sequence, column: s}",
    "{kind: tensor, column: v, shape: [2]}",
    "{kind: image, column: i, height: 8, width: 8, mean: [0.0], std: [1.0]}",
    "{kind: custom, columns: [d], encoder: 'json:loads', arguments: {e: 1}}",
)
_OTHER = """\
input: events
model: {weights: a/b.safetensors, architecture: 'torch.nn:Linear'}
labels: ['0', '1']
where: [{column: a, op: '==', value: 1}]
"""
_TABLE = """\
source: [data/*.csv]
format: csv
columns: {b: long}
options: {header: true}
"""
_PARTITIONS = (
    "{by: month, column: b, start: '2013-01-01', end: '2014-01-01', max_partitions_per_run: 2}",
    "{by: static, column: b, values: [1, x]}",
    "{by: dynamic, column: b}",
)
BASES: tuple[tuple[type[Component], Any, tuple[str, ...]], ...] = (
    (MlTaskComponent, yaml.safe_load(_TASK), ()),
    *(
        (MlTaskComponent, yaml.safe_load(f"{_OTHER}features: [{feature}]"), ("features", "where"))
        for feature in _OTHER_FEATURES
    ),
    (InputTableComponent, yaml.safe_load(_TABLE), ()),
    *(
        (InputTableComponent, yaml.safe_load(f"{_TABLE}partitions: {partitions}"), ("partitions",))
        for partitions in _PARTITIONS
    ),
)
"""Components, declarations that load as they are, and which of their fields are looked at; all, where none is named."""

_OF_THE_USER = ("arguments", "vocabulary", "columns", "options", "hook_columns")
"""Mappings whose keys are the user's."""

ABSENT = object()
"""Stands for a field that is left out."""

VALUES: tuple[Any, ...] = (
    *(True, 1, 1.0, 1.5, -1, "5", "yes", "", None, [], {}),
    *([1], ["a"], [["a", "long"]], {"a": 1}, {"a": "long"}, {"a": ["x"]}, {1: "long"}, ABSENT),
)
"""What may be written for a field."""

ENVIRONMENT: Mapping[str, str] = {
    "NUMBER": "5",
    "SHARE": "0.5",
    "FLAG": "true",
    "WORD": "long",
    "LIST": "['a', 'b']",
    "MAPPING": "{'a': 'long'}",
}
"""What a template may stand for."""


def places(component: type[Component], base: Any, fields: tuple[str, ...]) -> Iterator[Place]:
    """Where a value may stand: each field at each level, whether the base gives it or not, each item of a list, each value
    of a mapping; and in each object the key UNKNOWN."""
    model = component.get_model_cls()
    assert model is not None
    whole = model.model_json_schema()
    for place in _places(whole, whole, base, ()):
        if not fields or place[0] in fields:
            yield place


def declaration(base: Any, place: Place, value: Any) -> Any:
    """The base with `value` at a place."""
    whole = copy.deepcopy(base)
    inner = whole
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    if value is ABSENT:
        del inner[place[-1]]
    return whole


def is_known(place: Place) -> bool:
    """Whether it is no key that an object does not have; mappings of the user's own may have any."""
    return place[-1] != UNKNOWN or place[-2:-1] in [(name,) for name in _OF_THE_USER]


def _places(schema: Any, whole: Any, given: Any, place: Place) -> Iterator[Place]:
    if place:
        yield place
    if isinstance(given, list):
        for number, item in enumerate(given):
            yield from _places(_item(schema, item), whole, item, (*place, number))
    elif isinstance(given, dict):
        properties = _resolved(schema, whole).get("properties", {})
        for key in dict.fromkeys([*given, *properties, UNKNOWN]):
            yield from _places(properties.get(key, {}), whole, given.get(key), (*place, key))


def _item(schema: Any, item: Any) -> Any:
    """The schema of an item: for a feature, the one of its kind."""
    inner = schema.get("else", schema).get("items", {})
    inner = inner.get("else", inner)
    if "discriminator" in inner:
        return {"$ref": inner["discriminator"]["mapping"][item["kind"]]}
    return inner


def _resolved(schema: Any, whole: Any) -> Any:
    schema = schema.get("else", schema)
    return whole["$defs"][schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else schema

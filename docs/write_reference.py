"""Writes the tables of fields in docs/reference.md from the declarations: `make docs`.

Between `<!-- fields: Name -->` and `<!-- end -->`, the page has a row per field of the class `Name`: its name, its type
in YAML, its default, and the sentence that stands below it in the source. The rest of the page is written by hand.
"""

import dataclasses
import datetime as dt
import json
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from types import NoneType, UnionType
from typing import Any, Literal, Union

from pydantic import BaseModel

import sparktorch_assets
from sparktorch_assets import (
    ClassificationOutput,
    DynamicPartitions,
    InputTable,
    InputTableComponent,
    MlTask,
    MlTaskComponent,
)
from sparktorch_assets.orchestration.components.field_docs import field_docs
from sparktorch_assets.tasks.row_filter import Comparable

PAGE = Path(__file__).with_name("reference.md")
REGION = re.compile(r"(<!-- fields: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

IN_YAML = {MlTask: MlTaskComponent, InputTable: InputTableComponent}
"""Declarations with a component of their own, whose YAML form differs in what is required."""

_PLAIN: Mapping[Any, str] = {
    str: "text",
    bool: "`true` or `false`",
    dt.date: "date",
    int: "whole number",
    float: "number",
    PurePath: "path",
    Any: "value",
}


def written(page: str) -> str:
    """The page with its tables of fields as the declarations are now."""
    return REGION.sub(
        lambda found: found[1] + "\n".join(table_of(getattr(sparktorch_assets, found[2]))) + "\n" + found[4], page
    )


def table_of(declaration: type) -> Iterator[str]:
    """The rows of the table of a class's fields, in the order of the source."""
    yield "| field | type | default | |"
    yield "| --- | --- | --- | --- |"
    for name, annotation, default, text in _fields(declaration):
        yield f"| `{name}` | {type_in_yaml(annotation)} | {default} | {text} |"


def _fields(declaration: type) -> Iterator[tuple[str, Any, str, str]]:
    """Name, annotation, default and sentence of each field."""
    hints, docs = typing.get_type_hints(declaration), field_docs(declaration)
    if issubclass(declaration, BaseModel):
        for name, text in docs.items():
            if name in declaration.model_fields:
                yield name, hints[name], _default(declaration.model_fields[name].get_default()), text
        return
    of_yaml = IN_YAML[declaration].get_model_cls().model_fields if declaration in IN_YAML else {}
    for field in dataclasses.fields(declaration):
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        shown = (
            "required" if field.name in ("kind", "by") else _default(default)
        )  # Python has a default, and YAML has none
        text = docs[field.name]
        if field.name in of_yaml:
            text = of_yaml[field.name].description
            shown = "required" if of_yaml[field.name].is_required() else shown.replace("required", "none")
        yield field.name, hints[field.name], shown, text


def _default(value: Any) -> str:
    if value is dataclasses.MISSING:
        return "required"
    if value is None:
        return "none"
    if dataclasses.is_dataclass(value):
        return "the defaults"
    if value in ((), {}):
        return "empty"
    return f"`{value}`" if isinstance(value, str) and value else f"`{json.dumps(value)}`"


def type_in_yaml(annotation: Any) -> str:
    """The type of a field as YAML is written: "list of text" for `Sequence[str]`."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return _either([f"`{choice}`" for choice in inner])
    if origin in (Union, UnionType):
        return _union(inner)
    if origin is Sequence or (origin is tuple and inner[1:] == (...,)):
        kind = type_in_yaml(inner[0])
        return f"list of {kind}s" if kind in _PLAIN.values() else f"list of {kind}"
    if origin in (Mapping, dict):
        return f"mapping from {type_in_yaml(inner[0])} to {type_in_yaml(inner[1])}"
    if dataclasses.is_dataclass(annotation):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"  # type: ignore[union-attr]
    return _PLAIN[annotation]


def _union(kinds: tuple[Any, ...]) -> str:
    if set(typing.get_args(Comparable)) <= set(kinds):
        return "text, number, `true` or `false`, date or time; for `in` and `not in`, a list of these"
    if DynamicPartitions in kinds:
        return "[partitions](#partitions)"
    if all(dataclasses.is_dataclass(kind) for kind in kinds):
        return "[an output](#outputs)" if ClassificationOutput in kinds else "[feature groups](#features)"
    if any(typing.get_origin(kind) is Callable or kind is Callable for kind in kinds):
        return "import path"
    kept = [kind for kind in kinds if kind is not NoneType and not _is_pairs(kind, kinds)]
    if PurePath in kept:
        kept.remove(str)
        kept.insert(0, kept.pop(kept.index(PurePath)))
    return _either(list(dict.fromkeys(type_in_yaml(kind) for kind in kept)))


def _either(choices: list[str]) -> str:
    *others, last = choices
    return f"{', '.join(others)} or {last}" if others else last


def _is_pairs(kind: Any, kinds: tuple[Any, ...]) -> bool:
    """Whether it is the form of a mapping, as pairs, that only Python code needs."""
    mappings = [other for other in kinds if typing.get_origin(other) is Mapping]
    return bool(mappings) and typing.get_origin(kind) in (Sequence, tuple)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

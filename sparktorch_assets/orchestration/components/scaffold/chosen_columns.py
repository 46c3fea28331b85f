"""Chooses the columns of an input that a model reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, get_args

from sparktorch_assets.arrow_types import arrow_type
from sparktorch_assets.errors import TaskError, nearest
from sparktorch_assets.orchestration.components.scaffold.input_columns import columns_of_input, input_names
from sparktorch_assets.orchestration.components.scaffold.model_request import ModelRequest
from sparktorch_assets.orchestration.components.scaffold.yaml_text import listed
from sparktorch_assets.tasks import Feature
from sparktorch_assets.tasks.input_table import SOURCE_TYPES

_FEATURES = {item.default: feature for feature in get_args(Feature) for item in fields(feature) if item.name == "kind"}
"""Kind -> the class of such features."""
_ADDRESSES: Mapping[str, Any] = {"read": "uri"}
"""How a feature says that its column holds the paths or URIs of files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Columns that a model may read, the first of which is chosen."""

    names: Sequence[str]
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the feature has to say in addition, so that it reads such a column."""
    to_do: Sequence[str] = ()

    @property
    def others(self) -> tuple[str, ...]:
        """A note on those that were not chosen, if there are any."""
        return (f"Other columns of this type: {listed(self.names[1:])}.",) if len(self.names) > 1 else ()


def choose_columns(request: ModelRequest, kind: str) -> Columns:
    """The columns of the input that a feature of this kind may read.

    Raises:
        TaskError: there is none, or the one that is asked for is not there or has another type.
    """
    declared = columns_of_input(request.defs, request.input) if request.input else None
    if declared is None:
        return Columns(names=[request.column]) if request.column else _placeholder(request, kind)
    if request.column is not None:
        return _asked_for(request.column, declared, request, kind)
    fitting = [name for name, found in declared.items() if _problem(kind, found) is None]
    if not fitting:
        raise TaskError(
            f"input {request.input!r} has no column for the model's {kind} feature. Its columns: {_shown(declared)}. Name "
            f"another input, or correct a type in the input table"
        )
    return Columns(names=fitting)


def _asked_for(column: str, declared: Mapping[str, str], request: ModelRequest, kind: str) -> Columns:
    if column not in declared:
        raise TaskError(f"input {request.input!r} has no column {column!r}; {nearest(column, declared)}")
    problem = _problem(kind, declared[column])
    if problem is None:
        return Columns(names=[column])
    if _has_option(kind, "read") and _problem(kind, declared[column], **_ADDRESSES) is None:
        return Columns(names=[column], options=_ADDRESSES)
    raise TaskError(
        f"the model's {kind} feature cannot read column {column!r} of input {request.input!r}, which is declared as "
        f"{declared[column]}: {problem}. The input's columns: {_shown(declared)}"
    )


def _problem(kind: str, declared: str, **options: Any) -> str | None:
    """What keeps a feature of this kind from reading a column of the declared type; `None` if nothing does."""
    if declared not in SOURCE_TYPES:
        return f"{declared} is no type"
    column: Mapping[str, Any] = {"column": "any"} if _has_option(kind, "column") else {"columns": ["any"]}
    problem: str | None = _FEATURES[kind](**column, **options).wrong_type(str(arrow_type(declared)))
    return problem


def _has_option(kind: str, name: str) -> bool:
    return any(item.name == name for item in fields(_FEATURES[kind]))


def _shown(declared: Mapping[str, str]) -> str:
    return listed(f"{name} {found}" for name, found in declared.items())


def _placeholder(request: ModelRequest, kind: str) -> Columns:
    tables = listed(input_names(request.defs))
    known = f" (these are: {tables})" if tables else ""
    why = f"{request.input} is none of this project's input tables{known}" if request.input else "No input is named"
    return Columns(names=[kind], to_do=(f"{why}, so the column {kind!r} is a placeholder: name the input's own.",))

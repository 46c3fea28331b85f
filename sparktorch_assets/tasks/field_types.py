"""Checks the fields of a declaration against their annotations: all fields at once, so that none can be forgotten.

A wrong type that is accepted is noticed late or never: `trust_code="no"` is true to Python, and `max_failed_rows=True`
is 1. Values of the right type that are invalid (a share above 1, a repeated name) are checked by each declaration.
"""

import datetime as dt
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, fields
from decimal import Decimal
from functools import lru_cache
from pathlib import PurePath
from reprlib import Repr
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from sparktorch_assets.errors import TaskError, nearest

_shown = Repr()
_shown.maxstring = _shown.maxother = 100

_CALLED: Mapping[type, str] = {
    NoneType: "None",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    bytes: "bytes",
    PurePath: "a path",
    dt.date: "a date",
    dt.datetime: "a time",
    Decimal: "a Decimal",
}
"""Names of the expected types in messages. A declaration's class is shown as a call: `BatchPolicy(...)`."""


def check_fields(declaration: Any) -> None:
    """Check every field of a dataclass against its annotation, and freeze it as far as that is the same for all fields:
    lists become tuples, and paths become text.

    A whole number counts as a number, but a boolean counts as neither. A sequence may be any ordered iterable.

    Raises:
        TaskError: a field has a value of another type, or one that its `Literal` does not list.
    """
    kind: Any = type(declaration)
    hints = _hints(kind)
    for field in fields(declaration):
        value = getattr(declaration, field.name)
        try:
            settled = _settle(value, hints[field.name])
        except _UnlikeError as unlike:
            raise TaskError(_message(declaration, field, unlike)) from None
        if settled is not value:
            object.__setattr__(declaration, field.name, settled)


@lru_cache(maxsize=64)
def _hints(declaration: Any) -> Mapping[str, Any]:
    return get_type_hints(declaration)


class _UnlikeError(Exception):
    """A value, or one nested in it at `path`, does not fit its annotation; `expected` says what would."""

    def __init__(self, value: Any, expected: str, *, path: str = "", way_out: str | None = None) -> None:
        super().__init__(expected)
        self.value, self.expected, self.path, self.way_out = value, expected, path, way_out

    def at(self, place: str) -> "_UnlikeError":
        """The same, seen from the collection that holds the value."""
        return _UnlikeError(self.value, self.expected, path=place + self.path, way_out=self.way_out)


def _message(declaration: Any, field: "Field[Any]", unlike: _UnlikeError) -> str:
    kind, name = type(declaration).__name__, getattr(declaration, "name", None)
    named = isinstance(name, str) and field.name != "name"
    place = (f"{kind} {name!r}: " if named else f"{kind}.") + field.name + unlike.path
    value = unlike.value
    if field.repr:
        place += f"={_shown.repr(value)}"
    if unlike.way_out is not None and field.repr:
        return f"{place}{unlike.way_out}"
    return f"{place} ({_type_name(value)}); expected {unlike.expected}{_hint(value, unlike.expected)}"


def _type_name(value: Any) -> str:
    kind = type(value)
    room = kind.__module__.partition(".")[0]
    return kind.__qualname__ if room == "builtins" else f"{room}.{kind.__qualname__}"


def _hint(value: Any, expected: str) -> str:
    """How to turn such a value into the expected one, going by the usual mistake."""
    if isinstance(value, str) and any(_CALLED[kind] in expected for kind in (bool, int, float)):
        return ", without quotes"
    if isinstance(value, int | float | dt.date | None) and expected.startswith(_CALLED[str]):
        return " (quote it in YAML)"
    return " (`.item()` turns NumPy's into a plain one)" if getattr(value, "ndim", None) == 0 else ""


def _settle(value: Any, annotation: Any) -> Any:
    """The value in its frozen form; raises _UnlikeError."""
    if annotation is Any:
        return value
    settle = _BY_ORIGIN.get(get_origin(annotation))
    return _settle_plain(value, annotation) if settle is None else settle(value, get_args(annotation))


def _settle_plain(value: Any, kind: type) -> Any:
    if not _FITS.get(kind, isinstance)(value, kind):
        raise _UnlikeError(value, _CALLED.get(kind, f"{kind.__name__}(...)"))
    return value.as_posix() if kind is PurePath else value


def _is_whole(value: Any, _kind: type) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any, kind: type) -> bool:
    # A whole number beyond the range of a float could not be used in computations.
    return isinstance(value, float) or (_is_whole(value, kind) and abs(value) <= sys.float_info.max)


_FITS: Mapping[type, Callable[[Any, type], bool]] = {int: _is_whole, float: _is_number}
"""Types for which `isinstance` is not the right test: to Python, booleans are integers, and integers are not floats."""


def _settle_union(value: Any, kinds: tuple[Any, ...]) -> Any:
    unlike = []
    for kind in kinds:
        try:
            return _settle(value, kind)
        except _UnlikeError as error:
            unlike.append(error)
    # Report the alternative that the value resembles most: it is probably the one that was meant.
    closest = max(unlike, key=lambda error: (len(error.path), error.way_out is not None))
    if closest.path or closest.way_out is not None:
        raise closest
    *others, last = [error.expected for error in unlike]
    raise _UnlikeError(value, f"{', '.join(others)} or {last}")


def _settle_literal(value: Any, choices: tuple[Any, ...]) -> Any:
    if any(isinstance(value, type(choice)) and not isinstance(value, bool) and value == choice for choice in choices):
        return value
    known = [str(choice) for choice in choices]
    if len(choices) == 1:
        raise _UnlikeError(value, repr(choices[0]), way_out=f"; it is always {choices[0]!r}: leave it out")
    raise _UnlikeError(value, f"one of {', '.join(known)}", way_out=f"; {nearest(str(value), known)}")


def _settle_sequence(value: Any, kinds: tuple[Any, ...]) -> Any:
    kind, items = kinds[0], _ordered(value)
    if items is None:
        raise _UnlikeError(value, f"a list{_of_items(kind)}", way_out=_alone(value, kind))
    settled = []
    try:
        for item in items:
            settled.append(_settle(item, kind))  # noqa: PERF401  (its length says where an error is)
    except _UnlikeError as unlike:
        raise unlike.at(f"[{len(settled)}]") from None
    return tuple(settled)


def _ordered(value: Any) -> Iterator[Any] | None:
    """The items of an ordered collection; `None` for anything else, strings included."""
    if isinstance(value, str | bytes | Mapping | set | frozenset):
        return None
    try:
        items: Iterator[Any] | None = iter(value)
    except TypeError:
        items = None
    return items


def _settle_tuple(value: Any, kinds: tuple[Any, ...]) -> Any:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return _settle_sequence(value, kinds)
    if not isinstance(value, list | tuple) or len(value) != len(kinds):
        raise _UnlikeError(value, "a pair (key, value)")
    return tuple(_settle_at(f"[{place}]", value[place], kind) for place, kind in enumerate(kinds))


def _settle_mapping(value: Any, kinds: tuple[Any, ...]) -> Any:
    if not isinstance(value, Mapping):
        raise _UnlikeError(value, "a mapping {key: value}")
    return {_settle_at(" key", key, kinds[0]): _settle_at(f"[{key!r}]", value[key], kinds[1]) for key in value}


def _settle_callable(value: Any, _kinds: tuple[Any, ...]) -> Any:
    if not callable(value):
        raise _UnlikeError(value, "a function")
    return value


_BY_ORIGIN: Mapping[Any, Callable[[Any, tuple[Any, ...]], Any]] = {
    Union: _settle_union,
    UnionType: _settle_union,
    Literal: _settle_literal,
    Sequence: _settle_sequence,
    tuple: _settle_tuple,
    Mapping: _settle_mapping,
    Callable: _settle_callable,
}


def _settle_at(place: str, value: Any, annotation: Any) -> Any:
    try:
        return _settle(value, annotation)
    except _UnlikeError as unlike:
        raise unlike.at(place) from None


def _of_items(annotation: Any) -> str:
    """What the items of a list should be, for a message: it asks how a value that fits no type would be refused."""
    try:
        _settle(_NOTHING, annotation)
    except _UnlikeError as unlike:
        return f" in which every item is {unlike.expected}"
    return ""


_NOTHING = object()


def _alone(value: Any, kind: Any) -> str | None:
    """The advice for a single item that was given instead of a list; `None` if the value is no such item."""
    if kind is Any:
        return None
    try:
        _settle(value, kind)
    except _UnlikeError:
        return None
    return f" stands alone; write a list: [{_shown.repr(value)}]"

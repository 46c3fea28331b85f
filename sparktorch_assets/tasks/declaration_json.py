"""A task as plain JSON data, and back: what a saved Spark ML pipeline holds of it.

Reading runs no code. Classes are looked up by name among the declarations of this package, and whatever else the data
names (import paths, files) stays text until the task is used.
"""

import datetime as dt
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePath
from typing import Any, TypeVar, get_args, get_type_hints

from sparktorch_assets.errors import TaskError, nearest
from sparktorch_assets.tasks.hooks import HOOKS, Hooks
from sparktorch_assets.tasks.ml_task import MlTask
from sparktorch_assets.tasks.slot_policy import SlotPolicy

Declaration = TypeVar("Declaration")

_VERSION = 1
"""It changes when data that was written before means something else, or can no longer be read."""

_TO_TEXT: Mapping[type, tuple[str, Callable[[Any], str]]] = {
    bytes: ("bytes", bytes.hex),
    dt.datetime: ("datetime", dt.datetime.isoformat),
    dt.date: ("date", dt.date.isoformat),
    Decimal: ("decimal", str),
    float: ("float", repr),  # JSON has no infinity
}
"""The scalars that JSON does not have, each with the name of its type and its text."""
_FROM_TEXT: Mapping[str, Callable[[str], Any]] = {
    "bytes": bytes.fromhex,
    "datetime": dt.datetime.fromisoformat,
    "date": dt.date.fromisoformat,
    "decimal": Decimal,
    "float": float,
    "path": Path,
}


def _declarations() -> dict[str, type]:
    """The dataclasses that a task or a slot policy may consist of, by their names."""
    found: dict[str, type] = {}
    waiting: list[Any] = [MlTask, SlotPolicy]
    while waiting:
        annotation = waiting.pop()
        if not (isinstance(annotation, type) and is_dataclass(annotation)):
            waiting += get_args(annotation)
        elif annotation.__name__ not in found:
            found[annotation.__name__] = annotation
            waiting += get_type_hints(annotation).values()
    return found


_CLASSES = _declarations()


def to_json(declaration: MlTask | SlotPolicy) -> dict[str, Any]:
    """The declaration as data of which `from_json` makes an equal one: dictionaries, lists, texts, finite numbers,
    booleans and `None`.

    Raises:
        TaskError: a hook is a function object, or an argument is a value of another type than text, bytes, numbers,
            dates, paths, lists of these and `None`: only code could restore them.
    """
    where = _where(type(declaration), getattr(declaration, "name", None))
    return {"version": _VERSION, "declaration": _plain(declaration, where)}


def from_json(data: Any, kind: type[Declaration]) -> Declaration:
    """The declaration that `to_json` wrote.

    Args:
        data: what `to_json` returned, as `json.loads` gives it back.
        kind: the class of the declaration.

    Raises:
        TaskError: the data has another version, names a class or a field that there is not, lacks one, or holds a value
            that the declaration refuses.
    """
    where = _where(kind)
    version = data.get("version") if isinstance(data, dict) else None
    if version != _VERSION:
        raise TaskError(
            f"{where} was written in version {version!r} of the format, and this version of sparktorch-assets reads "
            f"version {_VERSION}; load it with the version that saved it, or save it again"
        )
    if data.keys() != {"version", "declaration"}:
        raise TaskError(f"{where}: its keys are {', '.join(data)}; expected version and declaration")
    found = _restored(data["declaration"], where)
    if not isinstance(found, kind):
        raise TaskError(f"{where} is a {type(found).__name__}")
    return found


def _where(kind: type, name: str | None = None) -> str:
    return f"the saved {kind.__name__}" if name is None else f"{kind.__name__} {name!r}"


def _plain(value: Any, where: str) -> Any:
    value = float(value) if isinstance(value, float) else value  # NumPy's float64 is one as well
    kind = type(value)
    if _CLASSES.get(kind.__name__) is kind:
        if isinstance(value, Hooks):
            _check_hooks(value, where)
        return {
            "class": kind.__name__,
            **{f.name: _plain(getattr(value, f.name), f"{where}.{f.name}") for f in fields(value)},
        }
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{place}]") for place, item in enumerate(value)]
    if isinstance(value, PurePath):
        return {"type": "path", "value": value.as_posix()}
    if kind in _TO_TEXT and not (kind is float and math.isfinite(value)):
        name, text = _TO_TEXT[kind]
        return {"type": name, "value": text(value)}
    if value is not None and (isinstance(value, Enum) or not isinstance(value, str | int | float)):
        raise TaskError(
            f"{where} is a {kind.__module__}.{kind.__qualname__}, which cannot be saved as data: reading it would run "
            f"code. Give plain values (text, numbers, bytes, dates, paths and lists of these), and build everything "
            f"else from them in your own code"
        )
    return value


def _check_hooks(hooks: Hooks, where: str) -> None:
    for name in HOOKS:
        hook = getattr(hooks, name)
        if hook is not None and not isinstance(hook, str):
            raise TaskError(
                f"{where}.{name} is a function object ({getattr(hook, '__qualname__', type(hook).__name__)}), which cannot "
                f"be saved as data. Put the function into a module that the workers can import, and name it: "
                f"Hooks({name}='my_module:my_function')"
            )


def _restored(data: Any, where: str) -> Any:
    if isinstance(data, list):
        return tuple(_restored(item, f"{where}[{place}]") for place, item in enumerate(data))
    if not isinstance(data, dict):
        return data
    if data.keys() == {"type", "value"}:
        return _scalar(data["type"], data["value"], where)
    name = data.get("class")
    kind = _CLASSES.get(name) if isinstance(name, str) else None
    if kind is None:
        raise TaskError(f"{where} names the class {name!r}, which is no declaration; {nearest(str(name), _CLASSES)}")
    known: Any = {f.name: f for f in fields(kind)}
    for key in data.keys() - {"class"} - known.keys():
        raise TaskError(f"{where}: {name} has no field {key!r}; {nearest(key, known)}")
    for key in _required(kind) - data.keys():
        raise TaskError(f"{where}: {name} lacks the field {key!r}")
    return kind(**{key: _restored(value, f"{where}.{key}") for key, value in data.items() if key != "class"})


def _required(kind: Any) -> set[str]:
    return {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}


def _scalar(name: Any, text: Any, where: str) -> Any:
    if not isinstance(name, str) or name not in _FROM_TEXT:
        raise TaskError(f"{where} has a value of type {name!r}; {nearest(str(name), _FROM_TEXT)}")
    try:
        return _FROM_TEXT[name](text)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise TaskError(f"{where}: {text!r} is no {name}") from error

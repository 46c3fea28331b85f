"""The state of a user's object in a form that can be compared between runs."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any

from sparktorch_assets.errors import TaskError

_SCALARS: frozenset[type] = frozenset((str, bytes, int, float, bool, type(None), date, datetime, timedelta, Decimal))

_SCALAR_NAMES = {kind: f"{kind.__module__}.{kind.__qualname__}" for kind in _SCALARS}


def plain_state(value: Any, where: str, root: PurePath | None = None) -> Any:
    """A plain value as JSON that is the same in every process, whatever the hash seed and the location of the checkout.

    Args:
        value: text, bytes, numbers, dates, paths, enumeration members, objects that are pickled by name
            (`torch.float32`), `None`, and lists, tuples, sets, dictionaries and dataclasses of these.
        where: the name of the value in error messages.
        root: paths below it are made relative to it.

    Raises:
        TaskError: it contains a value of another type, or one that contains itself; the message says where.
    """
    try:
        return _plain(value, where, root)
    except RecursionError:
        raise TaskError(
            f"{where} holds a value that contains itself; leave it out. A class can do so in its __getstate__"
        ) from None


def _plain(value: Any, where: str, root: PurePath | None) -> Any:  # noqa: PLR0911  (one return per type)
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind in _SCALARS:
        return [name, repr(value)]
    if (isinstance(value, Enum) or is_dataclass(kind)) and (kind.__module__ == "__main__" or "<locals>" in name):
        raise TaskError(
            f"{where} holds a {name}, a class that is defined in a function, a script or a notebook, so that its code "
            f"cannot be compared by name. Put the class into a module that the workers can import"
        )
    if isinstance(value, Enum):
        return [name, value.name, _plain(value.value, f"{where}.value", root)]
    if isinstance(value, PurePath):
        return ["path", (value.relative_to(root) if root and value.is_relative_to(root) else value).as_posix()]
    if kind in (list, tuple, set, frozenset):
        if _SCALARS.issuperset(map(type, value)):  # a vocabulary: the place of each entry need not be spelt out
            held = [[_SCALAR_NAMES[type(item)], repr(item)] for item in value]
        else:
            held = [_plain(item, f"{where}[{index}]", root) for index, item in enumerate(value)]
        return [name, held if kind in (list, tuple) else sorted(held, key=repr)]
    if kind is dict:
        pairs = (
            [_plain(key, f"a key of {where}", root), _plain(item, f"{where}.{key}", root)]
            for key, item in value.items()
        )
        return [name, sorted(pairs, key=repr)]
    if is_dataclass(kind):
        return [name, [[f.name, _plain(getattr(value, f.name), f"{where}.{f.name}", root)] for f in fields(kind)]]
    if (called := _pickled_name(value)) is not None:
        return [name, called]
    raise TaskError(
        f"{where} holds a {name}, whose value cannot be compared between runs. Keep plain values there (text, numbers, "
        f"paths, lists, dictionaries, dataclasses), and build everything else from them in your own code; a class can "
        f"leave a value out of what its __getstate__ returns"
    )


def _pickled_name(value: Any) -> str | None:
    """The name under which pickle finds the object, if it stores only that name, as for torch's dtypes; else `None`."""
    if callable(value):
        return None
    try:
        reduced = value.__reduce__()
    except Exception:  # noqa: BLE001  (the class cannot be pickled; the caller reports it)
        return None
    return reduced if isinstance(reduced, str) else None


def is_fixed(value: Any) -> bool:
    """Whether the value is immutable, with everything in it, so that what follows from it stays true: scalars, paths,
    tuples and frozen dataclasses of these, and objects that are pickled by name. Of a set that the user's code can change,
    or a dataclass that is not frozen, it is not known."""
    kind = type(value)
    if kind in _SCALARS or isinstance(value, PurePath):
        return True
    if kind in (tuple, frozenset):
        return _SCALARS.issuperset(map(type, value)) or all(map(is_fixed, value))
    if is_dataclass(kind):
        return kind.__dataclass_params__.frozen and all(is_fixed(getattr(value, f.name)) for f in fields(kind))  # type: ignore[attr-defined]
    return not isinstance(value, list | dict | set | Enum) and _pickled_name(value) is not None


def classes_in(value: Any) -> Iterator[type]:
    """The classes of the enumeration members and dataclasses in a plain value; their code is part of its digest."""
    waiting, seen = [value], set()
    while waiting:
        item = waiting.pop()
        if id(item) in seen:  # a value that contains itself, which is refused elsewhere
            continue
        seen.add(id(item))
        if isinstance(item, Enum) or (is_dataclass(item) and not isinstance(item, type)):
            yield type(item)
        waiting += inside(item)


def inside(value: Any) -> Iterator[Any]:
    """The values directly inside a collection, an enumeration member or a dataclass; nothing for any other value."""
    if isinstance(value, dict):
        yield from (*value, *value.values())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif isinstance(value, Enum):
        yield value.value
    elif is_dataclass(value) and not isinstance(value, type):
        yield from (getattr(value, field.name) for field in fields(value))

"""Frozen forms of what declarations arrive in: lists become tuples, mappings become sorted tuples of pairs."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.plain_state import inside

Scalar = str | int | float | bool | None


def freeze(value: Any) -> Any:
    """`value` with every list turned into a tuple, and a mapping into a tuple of (key, value) pairs, sorted by key.

    Raises:
        TaskError: a mapping stands inside another value, where a tuple of pairs could not be told from a list.

    >>> freeze({"b": [1, 2], "a": 3})
    (('a', 3), ('b', (1, 2)))
    """
    if isinstance(value, Mapping):
        return tuple((str(key), _freeze_value(value[key])) for key in sorted(value, key=str))
    return _freeze_value(value)


def _freeze_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        raise TaskError(f"a mapping inside a value ({dict(value)!r}) is not supported; give its entries one by one")
    if isinstance(value, list | tuple):
        return tuple(_freeze_value(item) for item in value)
    return value


def texts(value: Any) -> Iterator[str]:
    """Every string and path inside frozen arguments, as text; keys left out.

    >>> list(texts((("a", "x"), ("b", (1, "y")))))
    ['x', 'y']
    """
    for _, item in value:
        yield from _texts_in(item)


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str | PurePath):
        yield str(value)
    else:
        for item in inside(value):
            yield from _texts_in(item)


def names(value: Iterable[str], field: str, *, empty: bool = False) -> tuple[str, ...]:
    """`value` as a tuple of distinct, non-empty strings.

    Raises:
        TaskError: a bare string was given (a common slip: `columns="a"`), or a name is not a string or repeats.
    """
    if isinstance(value, str):
        raise TaskError(f"{field}={value!r} is a single string; write a list of names: [{value!r}]")
    found = tuple(value)
    for name in found:
        if not isinstance(name, str) or not name:
            raise TaskError(f"{field} holds {name!r}; every name must be a non-empty string (quote it in YAML)")
    repeated = sorted({name for name in found if found.count(name) > 1}) if len(set(found)) < len(found) else []
    if repeated:
        raise TaskError(f"{field} names {', '.join(map(repr, repeated))} more than once; drop the repetition")
    if not found and not empty:
        raise TaskError(f"{field} is empty; name at least one")
    return found


def positive(value: float, field: str) -> None:
    """Raise TaskError unless `value` is a number above zero."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise TaskError(f"{field}={value!r} must be a number above 0")

"""Checks of values that all kinds of declarations share: frozen mappings, names, and numbers within limits. See
`field_types` for their types."""

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.plain_state import inside

ASSET_NAME = r"[a-z][a-z0-9_]*"
"""A pattern for names that are valid for an asset, a table, a folder and a Python module alike."""

ASSET_KEY = r"[A-Za-z0-9_]+(/[A-Za-z0-9_]+)*"
"""A pattern for the keys of assets, as declarations write them."""

_SURROGATES = re.compile("[\ud800-\udfff]")

Scalar = str | int | float | bool | None


def freeze(value: Mapping[str, Any] | Iterable[tuple[str, Any]], field: str) -> tuple[tuple[str, Any], ...]:
    """A mapping as a tuple of (key, value) pairs, sorted by key, with every list inside turned into a tuple; pairs keep
    their order.

    Raises:
        TaskError: a key is empty or repeated, or a mapping is nested in another value, where a tuple of pairs could not
            be told from a list.

    >>> freeze({"b": [1, 2], "a": 3}, "arguments")
    (('a', 3), ('b', (1, 2)))
    """
    pairs = sorted(value.items(), key=lambda pair: pair[0]) if isinstance(value, Mapping) else list(value)
    names((key for key, _ in pairs), field, empty=True)
    return tuple((key, _freeze_value(item, f"{field}[{key!r}]")) for key, item in pairs)


def _freeze_value(value: Any, field: str) -> Any:
    if isinstance(value, Mapping):
        raise TaskError(f"{field} holds a mapping inside a value, which is not supported; give its entries one by one")
    if isinstance(value, list | tuple):
        return tuple(_freeze_value(item, field) for item in value)
    return value


def texts(value: Any) -> Iterator[str]:
    """All strings, paths and byte strings in frozen arguments, as text; keys are not included.

    >>> list(texts((("a", "x"), ("b", (1, "y")))))
    ['x', 'y']
    """
    for _, item in value:
        yield from _texts_in(item)


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str | bytes | PurePath):
        yield os.fsdecode(value)
    else:
        for item in inside(value):
            yield from _texts_in(item)


def names(value: Iterable[str], field: str, *, empty: bool = False) -> None:
    """Raise TaskError if a name is empty or repeated, or contains characters that no table can store; or if there are
    no names, unless `empty` allows that."""
    found = tuple(value)
    odd = [name for name in found if "\0" in name or _SURROGATES.search(name)]
    if odd:
        raise TaskError(f"{field} holds {odd[0]!r}; a NUL character or half of a surrogate pair cannot be stored")
    if "" in found:
        raise TaskError(f"{field} holds an empty string; name something, or leave it out")
    repeated = sorted({name for name in found if found.count(name) > 1}) if len(set(found)) < len(found) else []
    if repeated:
        raise TaskError(f"{field} names {', '.join(map(repr, repeated))} more than once; drop the repetition")
    if not found and not empty:
        raise TaskError(f"{field} is empty; name at least one")


def positive(value: float | None, field: str) -> None:
    """Raise TaskError unless `value` is above zero and finite. `None` sets no limit."""
    if value is not None and not 0 < value < math.inf:
        raise TaskError(f"{field}={value!r} must be a number above 0")


def share(value: float | None, field: str) -> None:
    """Raise TaskError unless `value` lies in [0, 1]. `None` sets no limit."""
    if value is not None and not 0 <= value <= 1:
        raise TaskError(f"{field}={value!r} must lie in [0, 1]")

"""The state of a user's object in a form that can be compared between runs."""

from dataclasses import fields, is_dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any

from sparktorch_assets.errors import TaskError

_SCALARS = (str, bytes, int, float, bool, type(None), date, datetime, timedelta, Decimal)


def plain_state(value: Any, where: str, root: PurePath) -> Any:
    """A plain value as JSON that is the same in every process, whatever the hash seed and the place of the checkout.

    Args:
        value: text, bytes, numbers, dates, paths, enumeration members, `None`, and lists, tuples, sets, dictionaries and
            dataclasses of these.
        where: how to call the value in an error.
        root: paths below it count relative to it.

    Raises:
        TaskError: there is a value of another type; the message says where.
    """
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind in _SCALARS or isinstance(value, Enum):
        return [name, value.name if isinstance(value, Enum) else repr(value)]
    if isinstance(value, PurePath):
        return ["path", (value.relative_to(root) if value.is_relative_to(root) else value).as_posix()]
    if kind in (list, tuple):
        return [name, [plain_state(item, f"{where}[{index}]", root) for index, item in enumerate(value)]]
    if kind in (set, frozenset):
        return [name, sorted((plain_state(item, f"an item of {where}", root) for item in value), key=repr)]
    if kind is dict:
        pairs = (
            [plain_state(key, f"a key of {where}", root), plain_state(item, f"{where}.{key}", root)]
            for key, item in value.items()
        )
        return [name, sorted(pairs, key=repr)]
    if is_dataclass(kind):
        held = [field.name for field in fields(kind)]
        return [name, [[field, plain_state(getattr(value, field), f"{where}.{field}", root)] for field in held]]
    raise TaskError(
        f"{where} holds a {name}, whose value cannot be compared between runs. Keep plain values there (text, numbers, "
        f"paths, lists, dictionaries, dataclasses), or leave it out of what the class's __getstate__ returns"
    )

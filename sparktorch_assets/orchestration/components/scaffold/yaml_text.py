"""Writes values and comments of a `defs.yaml`, so that they are read back as what they are.

Much of what is written comes from files of strangers (labels, names of columns and tensors). No such text can end a
comment or a value and add lines of its own.
"""

import math
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any

import yaml

from sparktorch_assets.errors import TaskError
from sparktorch_assets.orchestration.components.templates import is_template

_WIDTH = 116
_SHOWN = 12


class _FlowDumper(yaml.SafeDumper):
    """Writes any value on one line."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  (overridden)
        """Write a value again where it occurs again."""
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # Other styles write line breaks as line breaks.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_FlowDumper.add_representer(str, _represent_text)


def flow(value: Any) -> str:
    """The value as YAML on one line.

    Args:
        value: text, a number, a Boolean, `None`, a path, a list or tuple, a mapping, or a feature or output, which is
            written with its kind and the options that are not defaults.

    >>> flow(["no", "it's", 1e-05])
    "['no', it's, 1.0e-05]"
    """
    written: str = yaml.dump(
        [_plain(value)],
        Dumper=_FlowDumper,
        default_flow_style=True,
        allow_unicode=True,
        sort_keys=False,
        width=math.inf,
    )
    return written.rstrip("\n")[1:-1]


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        given = {field.name: getattr(value, field.name) for field in fields(value) if field.name != "kind"}
        changed = {
            field.name: given[field.name]
            for field in fields(value)
            if field.name in given and given[field.name] != field.default
        }
        return _plain({"kind": getattr(value, "kind", None), **changed})
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, PurePath) else value


def comment(text: str, indent: int = 0) -> list[str]:
    """The text as lines of comments."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    start = " " * indent + "# "
    return textwrap.wrap(
        printable, _WIDTH, initial_indent=start, subsequent_indent=start, break_long_words=False, break_on_hyphens=False
    )


def listed(names: Iterable[str]) -> str:
    """The names with commas; of many, the first ones."""
    found = list(names)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more


def check_no_templates(value: Any) -> None:
    """Raise TaskError if a value, at any depth, would be taken for a template when the file is loaded."""
    if isinstance(value, Mapping):
        for item in value.values():
            check_no_templates(item)
    elif isinstance(value, list):
        for item in value:
            check_no_templates(item)
    elif is_template(value):
        raise TaskError(
            f"{value!r} contains {{{{, which begins a template in a declaration, so it cannot be written into one. Rename "
            f"the file or the column"
        )

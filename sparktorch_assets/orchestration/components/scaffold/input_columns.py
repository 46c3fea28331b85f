"""The columns of a project's input tables, as its `defs.yaml` files declare them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

_TABLE = "InputTableComponent"
_FILES = ("defs.yaml", "defs.yml")


def columns_of_input(defs: Path, key: str) -> dict[str, str] | None:
    """The columns of an input table, each with its declared type; `None` if no file declares a table of that key, or it
    gives its columns by a template.

    Args:
        defs: the project's folder of declarations.
        key: the asset key of the table.
    """
    for name, attributes in _tables(defs):
        columns = attributes.get("columns")
        if name == key and isinstance(columns, Mapping):
            return {str(column): str(kind) for column, kind in columns.items()}
    return None


def input_names(defs: Path) -> list[str]:
    """The asset keys of all input tables that files declare."""
    return sorted(name for name, _ in _tables(defs))


def _tables(defs: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for file in sorted(path for name in _FILES for path in defs.rglob(name)):
        for document in _documents(file):
            attributes = document.get("attributes")
            if str(document.get("type", "")).endswith(_TABLE) and isinstance(attributes, Mapping):
                yield str(attributes.get("name") or file.parent.name), attributes


def _documents(file: Path) -> list[Mapping[str, Any]]:
    """The file's documents; none if it is no YAML, which is left to `dg check` to report."""
    try:
        found = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError):
        return []
    return [document for document in found if isinstance(document, Mapping)]

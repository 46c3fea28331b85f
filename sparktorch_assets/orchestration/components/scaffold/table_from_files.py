"""Writes the declaration of an input table from its source files: their format, and the columns that they hold.

Parquet files say the types of their columns. CSV and JSON files do not: every column is declared as text.
"""

import bz2
import csv
import glob
import gzip
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sparktorch_assets.errors import TableError, TaskError
from sparktorch_assets.orchestration.components.scaffold.yaml_text import check_no_templates, comment, flow, listed
from sparktorch_assets.spark.inputs.column_types import reads_as
from sparktorch_assets.spark.inputs.paths import format_of, source_paths
from sparktorch_assets.tasks.input_table import SOURCE_TYPES, InputTable

_MAX_FILES = 100
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")
"""Matches the names that pandas gives to an index without a name."""
_MAX_LINE = 1 << 20
_KINDS = tuple(dict.fromkeys(("byte", "short", *SOURCE_TYPES)))
"""The narrower types come first."""
_OPENERS: Mapping[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}
_SEPARATORS = (",", "\t", ";", "|")
"""The first one that the header contains is the table's."""
_AS_TEXT = "Types are declared, never guessed from the values. Change string to what a column holds: long, double, boolean, date, timestamp ..."


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """What the files say."""

    columns: Mapping[str, str]
    notes: Sequence[str] = ()
    options: Mapping[str, Any] | None = None


def table_yaml(type_name: str, name: str, sources: Sequence[str], project_root: Path) -> str:
    """The text of a `defs.yaml` that declares the files as an input table.

    Args:
        type_name: the component's name.
        name: the table's name.
        sources: paths, folders or patterns, relative to the project's root or else to the working directory.
        project_root: the project's root.

    Raises:
        TableError: a source is a URI or matches no file, or a file cannot be read.
        TaskError: the files hold no column that can be declared.
    """
    patterns = [_from_root(source, project_root) for source in sources]
    check_no_templates(patterns)
    kind, paths = _files(name, patterns, project_root)
    found = _READERS[kind](paths)
    if not found.columns:
        raise TaskError(f"{paths[0]} holds no column that can be declared. {' '.join(found.notes)}".rstrip())
    # Raises TaskError, for instance if two columns differ only in case.
    InputTable(name=name, source=tuple(patterns), format=kind, columns=tuple(found.columns.items()))  # type: ignore[arg-type]  # one of _READERS
    shown = f"{len(paths):,} files" if len(paths) > 1 else paths[0].name
    lines = [
        f"type: {type_name}",
        "",
        *comment(f"Columns as {shown} {'hold' if len(paths) > 1 else 'holds'} them."),
        "attributes:",
        "  # description: Say where these files come from.",
        f"  source: {flow(patterns)}",
        f"  format: {kind}",
        *([f"  options: {flow(found.options)}"] if found.options else []),
        "  columns:",
        *(f"    {flow(column)}: {flow(declared)}" for column, declared in found.columns.items()),
        *(line for note in found.notes for line in comment(note, 4)),
        "  max_rejected_share: 0.01  # if more rows do not fit, the table is not refreshed",
    ]
    return "\n".join(lines) + "\n"


def _from_root(source: str, project_root: Path) -> str:
    """The pattern as the declaration has to write it: relative to the project's root, if what it names lies there."""
    root = project_root.absolute()
    if "://" in source:
        raise TableError(
            f"{source!r} is a URI, and declarations are made from files of this machine. Copy one of the objects, make the "
            f"declaration from it, and write the URI as its source"
        )
    if glob.glob(source, root_dir=root, recursive=True):  # noqa: PTH207  (pathlib globs no absolute patterns)
        return Path(source).relative_to(root).as_posix() if Path(source).is_relative_to(root) else source
    here = Path(os.path.abspath(source))  # noqa: PTH100  (resolve would follow links)
    if not glob.glob(str(here), recursive=True):  # noqa: PTH207
        return source  # the message names the project's root
    return here.relative_to(root).as_posix() if here.is_relative_to(root) else here.as_posix()


def _files(name: str, patterns: Sequence[str], project_root: Path) -> tuple[str, list[Path]]:
    """The format of the files, and the files."""
    problems: list[TableError] = []
    for kind in _READERS:
        table = InputTable(name=name, source=tuple(patterns), format=kind, columns={"any": "string"})  # type: ignore[arg-type]
        try:
            paths = sorted(source_paths(table, project_root))
        except TableError as error:
            problems.append(error)
            continue
        kinds = {format_of(path) or "" for path in paths}
        if kinds == {kind}:
            return kind, paths
        if not kinds & _READERS.keys() or len(kinds) > 1:
            raise TableError(
                f"the source {', '.join(patterns)} matches files whose endings do not stand for one format: "
                f"{listed(path.name for path in paths)}. Name files that end in .parquet, .csv, .json or .jsonl"
            )
    raise problems[0]


def _read_parquet(paths: Sequence[Path]) -> _Found:
    schemas = [_footer(path) for path in paths[:_MAX_FILES]]
    columns: dict[str, str] = {}
    notes: list[str] = []
    for field in schemas[0]:
        types = [schema.field(field.name).type for schema in schemas if field.name in schema.names]
        kind = next((kind for kind in _KINDS if all(reads_as(found, kind) for found in types)), None)
        if _PANDAS_INDEX.fullmatch(field.name):
            notes.append(f"{field.name} is left out: it is the index of a pandas DataFrame.")
        elif len(types) < len(schemas):
            notes.append(f"{field.name} is not in every file, so it is left out.")
        elif kind is None:
            notes.append(
                f"{field.name} is left out: no type of an input table stands for {' or '.join(dict.fromkeys(map(str, types)))}."
            )
        else:
            columns[field.name] = kind
    further = dict.fromkeys(name for schema in schemas for name in schema.names if name not in schemas[0].names)
    notes += [f"{name} is not in every file, so it is left out." for name in further]
    if len(paths) > _MAX_FILES:
        notes.append(f"Only the first {_MAX_FILES} of {len(paths):,} files were looked at.")
    return _Found(columns=columns, notes=notes)


def _footer(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise TableError(f"{path} is not a readable Parquet file: {error}") from error


def _read_csv(paths: Sequence[Path]) -> _Found:
    line = _first_line(paths[0])
    separator = next((mark for mark in _SEPARATORS if mark in line), ",")
    try:
        names = next(csv.reader([line], delimiter=separator))
    except csv.Error as error:
        raise TableError(f"the header of {paths[0]} cannot be read: {error}") from error
    options = {"header": True} | ({} if separator == "," else {"sep": separator})
    return _Found(columns=_as_texts(paths[0], names), notes=[_AS_TEXT], options=options)


def _read_json(paths: Sequence[Path]) -> _Found:
    try:
        row = json.loads(_first_line(paths[0]))
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise TableError(
            f"the first line of {paths[0]} is not an object in JSON; each line of such a file is a row of the table"
        )
    return _Found(columns=_as_texts(paths[0], list(row)), notes=[f"From the first row. {_AS_TEXT}"])


def _as_texts(path: Path, names: Sequence[str]) -> dict[str, str]:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or "" in names:
        what = f"names {', '.join(repeated)} more than once" if repeated else "leaves a column without a name"
        raise TableError(f"the header of {path} {what}; give each column a name of its own")
    return dict.fromkeys(names, "string")


def _first_line(path: Path) -> str:
    """The first line that is not empty."""
    try:
        with _OPENERS.get(path.suffix, open)(path, "rt", encoding="utf-8-sig") as file:
            while line := file.readline(_MAX_LINE):
                if line.strip():
                    return str(line)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise TableError(f"{path} cannot be read as text: {error}") from error
    raise TableError(f"{path} is empty, so it does not say which columns it has")


_READERS: Mapping[str, Callable[[Sequence[Path]], _Found]] = {
    "parquet": _read_parquet,
    "csv": _read_csv,
    "json": _read_json,
}
"""Format -> the reader of such files."""

"""Finds the files that the patterns of an input table name. No file that may contain its rows is left out silently.

A folder stands for the files of the table's format in it and below it, including files without an ending that are named
like the output of Spark, Hadoop and Hive. Files that seem to contain rows but cannot be read are refused. Any other
visible file is named in a warning: folders often contain a README or the same data in another format, and refusing
those would not help.
"""

import glob
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import TypeVar

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.files.folder_files import LOG_FOLDER, PARQUET_ENDINGS, is_visible
from sparktorch_assets.stores.remote_root import is_uri
from sparktorch_assets.tasks.input_table import InputTable

_LOG = logging.getLogger(__name__)

_ENDINGS = {
    "csv": (".csv", ".tsv", ".txt"),
    "json": (".json", ".jsonl", ".ndjson"),
    "parquet": PARQUET_ENDINGS,
}
_COMPRESSED = (".gz", ".bz2", ".zst", ".snappy", ".lz4", ".deflate")
"""Endings that Spark decompresses. It is case-sensitive: it would read `a.csv.GZ` as text."""
_NOT_DECOMPRESSED = (".xz", ".zip", ".7z", ".rar", ".z", ".lzma", ".lzo", ".br", ".tar", ".tgz")
_UNCLEAR = (".dat", ".data")
_OUTPUT_NAME = re.compile(r"part-[^.]*|[0-9]+_[0-9]+(_copy_[0-9]+)?")
"""Matches names without an ending that Spark and Hadoop (`part-00000`) and Hive (`000000_0`) give to a table's
files."""
_SHOWN = 5
_Name = TypeVar("_Name", bound=PurePath)


def source_paths(table: InputTable, root: Path) -> list[Path]:
    """The files that the table's patterns match, each once, however many patterns, spellings and links lead to it.
    Patterns that are URIs are left out; see `objects.py`.

    Args:
        table: the declaration.
        root: the absolute path at which relative patterns start.

    Raises:
        TableError: a pattern matches nothing, files that are probably meant but cannot be read, or files of a Delta
            table.
    """
    by_file: dict[str, list[Path]] = {}
    for pattern in table.patterns:
        for path in () if is_uri(pattern) else _matches(table, pattern, root):
            by_file.setdefault(os.path.realpath(path), []).append(path)
    _refuse_delta_tables(table, by_file)
    real_root = Path(os.path.realpath(root))
    return [_most_direct(paths, root, real_root) for paths in by_file.values()]


def format_of(path: Path) -> str | None:
    """The format that the ending of a file's name stands for; `None` if it stands for none."""
    return next((kind for kind, endings in _ENDINGS.items() if _stem(path).endswith(endings)), None)


def _refuse_delta_tables(table: InputTable, files: Iterable[str]) -> None:
    """The files of a Delta table do not say which rows are in it. And if the table is this one, or was made from it,
    each refresh would read what the last one wrote."""
    folders = {Path(folder) for folder in {os.path.dirname(file) for file in files}}  # noqa: PTH120  (of many files)
    for folder in folders.union(*(folder.parents for folder in folders)):
        if (folder / LOG_FOLDER).exists():
            raise TableError(
                f"InputTable {table.name!r}: its sources are files of the Delta table {folder} as well, and only the "
                f"table's log says which rows count. Keep sources and tables in separate folders, or narrow the pattern"
            )


def _most_direct(paths: Sequence[Path], root: Path, real_root: Path) -> Path:
    if len(paths) == 1:  # as nearly always, and the comparison looks at the file system
        return paths[0]
    return min(paths, key=lambda path: _indirectness(path, root, real_root))


def _indirectness(path: Path, root: Path, real_root: Path) -> tuple[bool, bool, str]:
    """A sort key for the paths of one file: its own name comes first, so that a link that is added later changes
    nothing."""
    below_root = real_root / path.relative_to(root) if path.is_relative_to(root) else path
    return str(below_root) != os.path.realpath(path), ".." in path.parts, str(path)


def _matches(table: InputTable, pattern: str, root: Path) -> Iterator[Path]:
    where = f"InputTable {table.name!r}: source {pattern!r}"
    full = root / pattern  # an absolute pattern stays as it is
    if full.is_dir():
        yield from _in_folder(table, full, where)
        return
    if full.is_file():  # a file name may look like a pattern
        paths = [full]
    elif Path(pattern).is_absolute():
        paths = [Path(path) for path in glob.glob(pattern, recursive=True)]  # noqa: PTH207  (pathlib globs no absolute patterns)
    else:  # so that the root's own name is not taken for a pattern
        paths = [root / path for path in glob.glob(pattern, root_dir=root, recursive=True)]  # noqa: PTH207
    files = sorted(path for path in paths if path.is_file() and is_visible(path.name))
    yield from files_of_pattern(files, where, f"{full}. Correct the path (relative ones start at {root})")


def files_of_pattern(files: Sequence[_Name], where: str, looked_for: str) -> Sequence[_Name]:
    """The visible files that match a pattern.

    Raises:
        TableError: there is none, or one that Spark would read as text although it is compressed.
    """
    if not files:
        raise TableError(
            f"{where} matches no file: looked for {looked_for}, or put the files "
            f"there; names that begin with _ or . do not count"
        )
    compressed = [path for path in files if _is_opaque(path)]
    if compressed:
        raise TableError(f"{where} matches {_listed(compressed)}, {_HOW_TO_DECOMPRESS}, or write a narrower pattern")
    return files


def _in_folder(table: InputTable, folder: Path, where: str) -> list[Path]:
    return files_of_folder(table, folder, sorted(_walk(folder)), where)


def files_of_folder(table: InputTable, folder: object, files: Sequence[_Name], where: str) -> list[_Name]:
    """Those of a folder's visible files that hold the table's rows.

    Raises:
        TableError: there is none, or others may hold some that cannot be read.
    """
    matching = [path for path in files if _holds_rows(path, table.format)]
    matched = set(matching)
    others = [path for path in files if path not in matched]
    opaque = [
        path for path in (*matching, *others) if _is_opaque(path) and _stem(path).endswith(_ENDINGS[table.format])
    ]
    if opaque:
        raise TableError(f"{where} is the folder {folder}, which holds {_listed(opaque)}, {_HOW_TO_DECOMPRESS}")
    if not matching:
        found = f"; it holds {', '.join(path.name for path in files[:_SHOWN])}" if files else ", and it is empty"
        raise TableError(
            f"{where} is the folder {folder}, where no file ends in {' or '.join(_ENDINGS[table.format])} (or one of them "
            f"and {_COMPRESSED[0]}){found}. Name the files by a glob pattern, or correct the format"
        )
    unclear = [path for path in others if _stem(path).endswith(_UNCLEAR)]
    if unclear:
        raise TableError(
            f"{where} is the folder {folder}, which also holds {_listed(unclear)}: the ending does not say whether that is "
            f"{table.format}. Name the files to read by glob patterns, or move these out of the folder"
        )
    if others:
        _LOG.warning(
            "%s is the folder %s, which also holds %s: not read, since files of the format %s end in %s. If their rows are "
            "meant as well, name them by a glob pattern",
            where, folder, _listed(others), table.format, " or ".join(_ENDINGS[table.format]),
        )  # fmt: skip
    return matching


def _walk(folder: Path) -> Iterator[Path]:
    """The visible files in a folder and below it. Symbolic links are followed, but each folder is visited once."""
    seen = {os.path.realpath(folder)}
    for parent, folders, names in os.walk(folder, followlinks=True):
        fresh = {name: os.path.realpath(Path(parent, name)) for name in sorted(folders) if is_visible(name)}
        folders[:] = [name for name, real in fresh.items() if real not in seen]
        seen.update(fresh.values())
        yield from (path for path in (Path(parent, name) for name in names) if is_visible(path.name) and path.is_file())


_HOW_TO_DECOMPRESS = f"compressed as Spark cannot read it: it knows {', '.join(_COMPRESSED)}, in lower case. Rename or decompress such files"


def _listed(paths: Sequence[PurePath]) -> str:
    names = ", ".join(path.name for path in paths[:_SHOWN])
    return names if len(paths) <= _SHOWN else f"{names} and {len(paths) - _SHOWN:,} more"


def _holds_rows(path: PurePath, file_format: str) -> bool:
    name = _stem(path)
    return name.endswith(_ENDINGS[file_format]) or _OUTPUT_NAME.fullmatch(name) is not None


def _is_opaque(path: PurePath) -> bool:
    suffix = path.suffix
    if suffix in _COMPRESSED:
        return path.stem.lower().endswith(".tar")
    return suffix.lower() in (*_COMPRESSED, *_NOT_DECOMPRESSED)


def _stem(path: PurePath) -> str:
    """The name in lower case, without endings of compressed files."""
    name = path.name.lower()
    for ending in (*_COMPRESSED, *_NOT_DECOMPRESSED):
        name = name.removesuffix(ending)
    return name

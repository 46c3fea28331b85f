"""The files that an input table is read from, and what names each one's rows: path, size, modification time, and how it
is read. Planning needs this and the table's list of parts, and no Spark.
"""

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparktorch_assets.errors import TableError, TaskError
from sparktorch_assets.tasks.digest import digest_of
from sparktorch_assets.tasks.file_identity import FileIdentity, file_identity
from sparktorch_assets.tasks.input_table import InputTable

_ENDINGS = {
    "csv": (".csv", ".tsv", ".txt"),
    "json": (".json", ".jsonl", ".ndjson"),
    "parquet": (".parquet", ".parq"),
}
_COMPRESSED = (".gz", ".bz2", ".zst", ".snappy", ".lz4", ".deflate")
_OURS = ("mode", "columnnameofcorruptrecord", "path", "inferschema")
"""Reader options that decide what happens to malformed rows, in lower case: not the user's to set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """One file to read."""

    path: Path
    """Absolute."""
    name: str
    """Relative to the project's root where it lies below it: a project that is moved keeps its parts."""
    fingerprint: str
    """32 hexadecimal digits; the parts that hold this file's rows are named by it."""
    seen: FileIdentity
    """The file as it was when it was found."""

    def has_changed(self) -> bool:
        """Whether it was rewritten, replaced or deleted since."""
        return file_identity(self.path) != self.seen


def find_sources(table: InputTable, project_root: Path) -> list[SourceFile]:
    """The table's source files as they are now, sorted by name.

    Raises:
        TableError: a pattern matches nothing.
        TaskError: the declaration sets an option that this library sets itself.
    """
    for key, _ in _options(table):
        if key.lower() in _OURS:
            raise TaskError(
                f"InputTable {table.name!r}: option {key!r} cannot be set; malformed rows always go to the rejected "
                f"table, up to max_rejected_share"
            )
    root = project_root.absolute()
    reading = {"columns": table.typed_columns, "format": table.format, "options": sorted(_options(table))}
    found = {}
    for pattern in table.patterns:
        for path in _matches(table, pattern, root):
            name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
            seen = file_identity(path)
            if seen is None:  # deleted since it was listed
                continue
            identity = {"name": name, "size_bytes": seen.size_bytes, "modified_ns": seen.modified_ns, **reading}
            found[name] = SourceFile(path=path, name=name, fingerprint=digest_of(identity)[:32], seen=seen)
    if not found:
        raise TableError(f"InputTable {table.name!r}: the source files were deleted while they were listed; run again")
    return [found[name] for name in sorted(found)]


def reader_options(table: InputTable) -> dict[str, str]:
    """The declared options as Spark's reader takes them."""
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in _options(table)}


def _options(table: InputTable) -> list[tuple[str, Any]]:
    pairs: Any = table.options  # frozen by InputTable: pairs, whatever came in
    return [(str(key), value) for key, value in pairs]


def _matches(table: InputTable, pattern: str, root: Path) -> Iterator[Path]:
    where = f"InputTable {table.name!r}: source {pattern!r}"
    if "://" in pattern:
        raise TableError(
            f"{where} is a URI; sources are read from paths that the driver and the workers share (a mounted folder). Copy "
            f"or mount it, or read it with spark.read and spark_ml_predict"
        )
    full = root / pattern  # an absolute pattern stays as it is
    if full.is_dir():
        files = sorted(path for path in full.rglob("*") if path.is_file() and _visible(path.relative_to(full)))
        matching = [path for path in files if _stem(path).endswith(_ENDINGS[table.format])]
        if not matching:
            others = f"; it holds {', '.join(path.name for path in files[:5])}" if files else ", and it is empty"
            raise TableError(
                f"{where} is the folder {full}, where no file ends in {' or '.join(_ENDINGS[table.format])} (or one of them "
                f"and {_COMPRESSED[0]}){others}. Name the files by a glob pattern, or correct the format"
            )
        yield from matching
        return
    if full.is_file():  # a name may hold what looks like a pattern
        paths = [full]
    elif Path(pattern).is_absolute():
        paths = [Path(path) for path in glob.glob(pattern, recursive=True)]  # noqa: PTH207  (pathlib globs no absolute patterns)
    else:  # so that the root's own name is no pattern
        paths = [root / path for path in glob.glob(pattern, root_dir=root, recursive=True)]  # noqa: PTH207
    files = sorted(path for path in paths if path.is_file() and _visible(Path(path.name)))
    if not files:
        raise TableError(
            f"{where} matches no file: looked for {full}. Correct the path (relative ones start at {root}), or put the files "
            f"there; names that begin with _ or . do not count"
        )
    yield from files


def _visible(path: Path) -> bool:
    # Spark leaves these out by itself, even when named.
    return not any(part.startswith(("_", ".")) for part in path.parts)


def _stem(path: Path) -> str:
    name = path.name.lower()
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    return name

"""Finds the objects that the URIs among an input table's sources name: one object, a folder, or a glob pattern."""

import fnmatch
import time
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.files.folder import Folder, FolderEntry
from sparktorch_assets.lake.files.folder_files import LOG_FOLDER, is_visible
from sparktorch_assets.spark.inputs.paths import files_of_folder, files_of_pattern
from sparktorch_assets.stores.remote_root import is_uri
from sparktorch_assets.tasks.input_table import InputTable

_SETTLED_S = 2.0
"""S3 tells the second in which an object was written. One that was written in the last seconds is looked at again after
them: whatever is written over it then has another time."""


def source_objects(table: InputTable) -> dict[str, FolderEntry]:
    """URI -> size and time of the object, for those that the table's patterns match.

    Raises:
        TableError: a pattern matches nothing, or objects that are probably meant but cannot be read, or those of a Delta
            table.
    """
    patterns = [pattern for pattern in map(str, table.patterns) if is_uri(pattern)]
    while True:
        found = dict(entry for pattern in patterns for entry in _matches(table, pattern))
        newest_s = max((entry.modified_ms for entry in found.values()), default=0) / 1e3
        age_s = time.time() - newest_s
        if not 0 <= age_s < _SETTLED_S:  # by a clock that differs from the store's, this says nothing
            return found
        time.sleep(_SETTLED_S - age_s)


def _matches(table: InputTable, pattern: str) -> Iterator[tuple[str, FolderEntry]]:
    where = f"InputTable {table.name!r}: source {pattern!r}"
    if "?" in pattern:
        raise TableError(
            f"{where}: a question mark begins a URI's options, which sources cannot have. Match a character by [...] or *, "
            f"and set the store's environment variables (for S3, AWS_ENDPOINT_URL and AWS_REGION)"
        )
    base, rest = _divided(pattern)
    folder = Folder(base)
    if not rest:
        single = folder.info()
        if single is not None:
            _refuse_delta_tables(table, folder)
            yield folder.absolute, single
            return
    entries = {entry.path: entry for entry in folder.files(recursive=not rest or "/" in rest or "**" in rest)}
    _refuse_delta_tables(table, folder, entries)
    visible = [PurePosixPath(path) for path in sorted(entries) if is_visible(path)]
    if rest:
        chosen = files_of_pattern(
            [path for path in visible if _fits(path.parts, rest.split("/"))], where, f"{pattern}. Correct the URI"
        )
    else:
        chosen = files_of_folder(table, base, visible, where)
    for path in chosen:
        yield folder.uri_of(str(path)), entries[str(path)]


def _divided(pattern: str) -> tuple[str, str]:
    """The URI of the innermost folder that has no pattern characters, and the pattern below it.

    >>> _divided("s3://bucket/a/b*/*.csv")
    ('s3://bucket/a', 'b*/*.csv')
    """
    scheme, _, path = pattern.partition("://")
    parts = path.rstrip("/").split("/")
    fixed = next((number for number, part in enumerate(parts) if "*" in part or "[" in part), len(parts))
    return f"{scheme}://{'/'.join(parts[:fixed])}", "/".join(parts[fixed:])


def _fits(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a glob pattern matches a path, both by their components; `**` stands for any number of these.

    >>> _fits(["a", "b", "c.csv"], ["**", "*.csv"]), _fits(["a", "b.csv"], ["*.csv"])
    (True, False)
    """
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(_fits(path[skipped:], pattern[1:]) for skipped in range(len(path) + 1))
    return bool(path) and fnmatch.fnmatchcase(path[0], pattern[0]) and _fits(path[1:], pattern[1:])


def _refuse_delta_tables(table: InputTable, folder: Folder, below: "dict[str, FolderEntry] | None" = None) -> None:
    """As for files: only a table's log says which rows count."""
    inside = next((path for path in below or () if f"/{LOG_FOLDER}/" in f"/{path}"), None)
    found = None if inside is None else f"{folder.absolute}/{inside.partition(LOG_FOLDER)[0]}".rstrip("/")
    at = folder.absolute
    while found is None and "/" in at.partition("://")[2]:
        if Folder(at).is_folder(LOG_FOLDER):
            found = at
        at = at.rpartition("/")[0]
    if found is not None:
        raise TableError(
            f"InputTable {table.name!r}: its sources are files of the Delta table {found} as well, and only the table's log "
            f"says which rows count. Keep sources and tables in separate folders, or narrow the pattern"
        )

"""Finds the files that an input table is read from, each with a fingerprint of its path, size, modification time, and
how it is read. Planning needs only this and the table's list of parts, and no Spark.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sparktorch_assets.errors import TableError, TaskError
from sparktorch_assets.file_identity import FileIdentity, file_identity, object_identity
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.spark.inputs.objects import source_objects
from sparktorch_assets.spark.inputs.paths import source_paths
from sparktorch_assets.spark.inputs.values import judged_columns
from sparktorch_assets.tasks.digest import digest_of
from sparktorch_assets.tasks.input_table import InputTable, Option

_OURS = ("mode", "columnnameofcorruptrecord", "path", "inferschema")
"""Reader options that this library sets itself, in lower case. Most decide what happens to malformed rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """One source file of an input table."""

    path: Path
    """The absolute path; empty for an object in a store."""
    name: str
    """The path relative to the project's root, if the file is below it, so that a project that is moved keeps its
    parts."""
    fingerprint: str
    """32 hexadecimal digits, which are in the names of the parts with this file's rows."""
    seen: FileIdentity
    """The file's identity when it was found."""
    uri: str = ""
    """The URI of an object in a store; empty for a file."""

    def __str__(self) -> str:
        return self.uri or str(self.path)

    def open(self) -> BinaryIO:
        """The file, opened for reading.

        Raises:
            OSError: it cannot be read.
        """
        opened: BinaryIO = Folder(self.uri).open_input() if self.uri else self.path.open("rb")
        return opened

    def has_changed(self) -> bool:
        """Whether it was rewritten, replaced or deleted since."""
        if not self.uri:
            return file_identity(self.path) != self.seen
        found = Folder(self.uri).identity()
        return found is None or not found.agrees_with(self.seen)


def find_sources(table: InputTable, project_root: Path) -> list[SourceFile]:
    """The table's present source files, sorted by name.

    Raises:
        TableError: a pattern matches nothing, or matches files that are probably meant but cannot be read.
        TaskError: the declaration sets an option that this library sets itself.
    """
    for key, _ in table.typed_options:
        if key.lower() in _OURS:
            raise TaskError(
                f"InputTable {table.name!r}: option {key!r} cannot be set; malformed rows always go to the rejected "
                f"table, up to max_rejected_share"
            )
    root = project_root.absolute()
    reading: dict[str, Any] = {
        "columns": table.typed_columns,
        "format": table.format,
        "options": sorted(_options(table)),
    }
    judged = judged_columns(table)
    if judged:
        reading["judged"] = sorted(judged)
    found = {}
    for path in source_paths(table, root):
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
        seen = file_identity(path)
        if seen is None:  # deleted since it was listed
            continue
        identity = {"name": name, "size_bytes": seen.size_bytes, "modified_ns": seen.modified_ns, **reading}
        found[name] = SourceFile(path=path, name=name, fingerprint=digest_of(identity)[:32], seen=seen)
    for uri, entry in source_objects(table).items():
        # In whole seconds, since stores tell no more when they are asked for a single object.
        modified_ns = entry.modified_ms // 1000 * 1_000_000_000
        identity = {"name": uri, "size_bytes": entry.size_bytes, "modified_ns": modified_ns, **reading}
        found[uri] = SourceFile(
            path=Path(),
            name=uri,
            fingerprint=digest_of(identity)[:32],
            seen=object_identity(entry.size_bytes, modified_ns),
            uri=uri,
        )
    if not found:
        raise TableError(f"InputTable {table.name!r}: the source files were deleted while they were listed; run again")
    return [found[name] for name in sorted(found)]


def reader_options(table: InputTable) -> dict[str, str]:
    """The options for Spark's reader, with their names in lower case: Spark ignores case."""
    return {
        key.lower(): str(value).lower() if isinstance(value, bool) else str(value) for key, value in _options(table)
    }


def _options(table: InputTable) -> list[tuple[str, Option]]:
    """The declared options, and those whose defaults differ from Spark's."""
    pairs = list(table.typed_options)
    declared = {key.lower(): value for key, value in pairs}
    quote = declared.get("quote", '"')
    if table.format == "csv" and quote and "escape" not in declared:
        # RFC 4180, as Python's csv, pandas and Excel write it. Spark expects a backslash.
        pairs.append(("escape", quote))
    return pairs

"""Compares what an input table contains with its present source files: the difference is what a refresh has to do."""

import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.log.snapshot import Snapshot
from sparktorch_assets.lake.parts.file import NUMBERED_PART_NAME
from sparktorch_assets.lake.table import Table
from sparktorch_assets.spark.inputs.sources import SourceFile, find_sources
from sparktorch_assets.tasks.input_table import InputTable

_OWNER = "input_table"
"""The key in a commit's metadata that holds the name of the input table that owns the Delta table."""
_MALFORMED = "malformed"
"""The key in a commit's metadata for the number of malformed rows of each source with any, as JSON."""


@dataclass(frozen=True, kw_only=True)
class InputState:
    """The state of an input table, its table of rejected rows and its source files, read together."""

    main: Snapshot
    rejected: Snapshot
    sources: list[SourceFile]
    """The source files, sorted by name."""
    known: frozenset[str]
    """Fingerprints of the sources whose rows, including malformed ones, are completely in the tables."""

    @cached_property
    def present(self) -> frozenset[str]:
        """Fingerprints of the source files that exist now."""
        return frozenset(source.fingerprint for source in self.sources)

    @property
    def kept(self) -> frozenset[str]:
        """Fingerprints of the sources whose parts stay in the tables."""
        return self.present & self.known

    @property
    def new(self) -> list[SourceFile]:
        """The sources to read."""
        return [source for source in self.sources if source.fingerprint not in self.known]

    @property
    def is_stale(self) -> bool:
        """Whether there is anything to do."""
        # A run that lost a race after its first commit may have left malformed rows of a source that no longer exists.
        paths = (*self.main.parts, *self.rejected.parts)
        return bool(self.new) or self.main.version is None or any(source_of(path) not in self.present for path in paths)

    def obsolete(self, snapshot: Snapshot) -> list[str]:
        """The parts with rows of sources that are gone or have to be read again."""
        return [path for path in snapshot.parts if source_of(path) not in self.kept]


def read_state(table: InputTable, project_root: Path, table_uri: str, rejected_uri: str) -> InputState:
    """Read the present state of an input table.

    Raises:
        TableError: a source matches no file, or the Delta table belongs to another input table or another writer.
    """
    # Read in the opposite order of a refresh's commits, and the files last. A run that commits after this is noticed at
    # our own commit; a run that committed before has seen no file that we do not see.
    rejected = _ours(table, rejected_uri)
    main = _ours(table, table_uri)
    malformed = Counter[str | None]()
    for path, part in rejected.snapshot.parts.items():
        malformed[source_of(path)] += part.rows or 0
    noted: dict[str, int] = json.loads(main.metadata.get(_MALFORMED, "{}"))
    lost = {fingerprint for fingerprint, rows in noted.items() if malformed[fingerprint] != rows}
    damaged = {source_of(path) for path in main.lost_parts() | rejected.lost_parts()}
    known = {source_of(path) for path in main.snapshot.parts} - damaged - lost
    return InputState(
        main=main.snapshot,
        rejected=rejected.snapshot,
        sources=find_sources(table, project_root),
        known=frozenset(fingerprint for fingerprint in known if fingerprint is not None),
    )


def input_metadata(table: InputTable, run_id: str, malformed: Counter[str]) -> dict[str, str]:
    """The metadata of each commit of an input table.

    Args:
        table: the declaration.
        run_id: the run's id.
        malformed: the number of malformed rows of each source, by fingerprint.
    """
    noted = {fingerprint: rows for fingerprint, rows in sorted(malformed.items()) if rows}
    return {_OWNER: table.name, "run_id": run_id, _MALFORMED: json.dumps(noted)}


def source_of(path: str) -> str | None:
    """The fingerprint of the source file whose rows are in a part; `None` for a file that is not such a part."""
    found = NUMBERED_PART_NAME.fullmatch(path)
    return found[1] if found else None


def _ours(table: InputTable, uri: str) -> Table:
    """The Delta table at `uri`, which need not exist, if it belongs to this input table."""
    found = Table(uri)
    if found.version is None:
        return found
    owner = found.metadata.get(_OWNER)
    if owner != table.name:
        whose = f"belongs to input table {owner!r}" if owner else "was not written by this library"
        raise TableError(
            f"InputTable {table.name!r}: the Delta table at {uri} {whose}, and refreshing would replace its rows. Choose "
            f"another name or lake root, or delete that table"
        )
    return found

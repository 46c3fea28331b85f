"""Materializes an input table: source files become a Delta table of typed rows, incrementally and exactly.

Parts are named by the source file whose rows they contain and by their own content
(`part-<fingerprint>-<number>-<hash>.parquet`). The fingerprint lets a comparison of the source files with the table's
list of parts show which files are new, unchanged and gone; if all are unchanged, Spark is not started. The hash keeps
runs apart: how Spark splits a file depends on which others it reads with it, so two runs may split a source
differently, and neither must overwrite a part of the other.

Malformed rows go to a second table, `<table>__rejected`, with the same names and rules. It is committed first: after a
crash between the two commits, a source is read again, but its malformed rows are never lost. The second commit records
the number of malformed rows of each source, so that a loss in the first table is noticed, too.
"""

import functools
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from sparktorch_assets.errors import CommitConflictError, RowsRejectedError, RowsVanishedError, TableError
from sparktorch_assets.lake.files.folder import Folder, read_threads
from sparktorch_assets.lake.log.commit import commit_parts
from sparktorch_assets.lake.log.snapshot import Snapshot, data_version_of
from sparktorch_assets.lake.parts.file import PartFile, describe_part, publish_by_content
from sparktorch_assets.lake.parts.staging import staging_folder
from sparktorch_assets.lake.table import Table
from sparktorch_assets.spark.inputs.check import check_sources
from sparktorch_assets.spark.inputs.column_types import arrow_schema
from sparktorch_assets.spark.inputs.read import SourceReader, open_sources
from sparktorch_assets.spark.inputs.sources import SourceFile
from sparktorch_assets.spark.inputs.state import InputState, input_metadata, read_state, source_of
from sparktorch_assets.tasks.input_table import InputTable

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_MOST_CONFLICTS = 3
"""Number of times that other runs may overtake a refresh before it gives up."""
_BETWEEN_COMMITS_S = 5.0
_LOOK_AGAIN_S = 0.1

_REJECTED_SCHEMA = pa.schema([pa.field("source", pa.string()), pa.field("record", pa.string())])


@dataclass(frozen=True, kw_only=True, slots=True)
class InputReport:
    """What materializing an input table did."""

    table: str
    uri: str
    version: int
    """The Delta version that readers see now."""
    changed: bool
    """Whether this run committed a new version."""
    rows: int
    """Rows in the table now."""
    rejected_rows: int
    """Malformed rows of the present source files, which are in `rejected_table`."""
    rows_before: int = 0
    """Rows in the table before this refresh."""
    rejected_table: str | None
    """`None` if no row was ever malformed."""
    files_new: int
    """Source files that this run read: new and changed ones."""
    files_unchanged: int
    files_removed: int
    """Source files whose rows left the table: deleted and changed ones."""
    seconds: float
    data_version: str


def materialize_input(
    spark: "Callable[[], SparkSession] | SparkSession",
    table: InputTable,
    *,
    project_root: str | Path,
    table_uri: str,
    run_id: str = "",
) -> InputReport:
    """Bring the Delta table at `table_uri` up to date with its source files, in at most one commit.

    If another run commits first, this run looks again: what the other has read stays, and what is still missing is
    read.

    Args:
        spark: a session, or a callable that returns one, which is called only if there is a file to read.
        table: the declaration.
        project_root: where relative sources start.
        table_uri: the table's folder.
        run_id: recorded in the commit.

    Raises:
        TableError: a source matches no file, a file cannot be read, or too many rows are malformed. Nothing was
            committed.
        RowsRejectedError: more rows are malformed than `max_rejected_share` allows. Nothing was committed.
        RowsVanishedError: more of the table's rows would leave it than `max_vanished_share`. Nothing was committed.
        InputSchemaError: a file's columns are not the declared ones. Nothing was committed.
        CommitConflictError: other runs refreshed the table at the same time, again and again.
    """
    started = time.perf_counter()
    rejected_uri = f"{table_uri.rstrip('/')}__rejected"
    look = functools.partial(read_state, table, Path(project_root), table_uri, rejected_uri)
    state = now = look()
    version, conflicts = None, 0
    while now.is_stale and version is None:
        check_sources(table, now.new)
        try:
            version = _Refresh(table, now, table_uri, rejected_uri, run_id).run(spark)
        except CommitConflictError:
            # Two schedules at the same minute: the quicker run may have read the same files, or only some of them.
            conflicts += 1
            if conflicts == _MOST_CONFLICTS:
                raise
            now = _after_the_other_run(look, now)
    changed = version not in (None, now.main.version)
    main = now.main if version is None else Table(table_uri, version).snapshot
    rejected = now.rejected if version is None else Table(rejected_uri).snapshot
    assert main.version is not None
    return InputReport(
        table=table.name,
        uri=table_uri,
        version=main.version,
        changed=changed,
        rows=main.rows,
        rows_before=state.main.rows,
        rejected_rows=rejected.rows,
        rejected_table=None if rejected.version is None else rejected_uri,
        files_new=len(state.new),
        files_unchanged=len(state.sources) - len(state.new),
        files_removed=len({source_of(path) for path in state.main.parts} - state.present),
        seconds=time.perf_counter() - started,
        data_version=data_version_of(main.parts, main.schema),
    )


def _after_the_other_run(look: Callable[[], InputState], planned: InputState) -> InputState:
    """The state after the quicker run has made its second commit, shortly after the first. The wait is limited, because
    a run that was killed in between never makes it."""
    until = time.monotonic() + _BETWEEN_COMMITS_S
    while True:
        found = look()
        begun = found.is_stale and found.main.version == planned.main.version
        if not begun or time.monotonic() > until:
            return found
        time.sleep(_LOOK_AGAIN_S)


class _Refresh:
    """One refresh of a table and of its table of rejected rows."""

    def __init__(self, table: InputTable, state: InputState, table_uri: str, rejected_uri: str, run_id: str) -> None:
        self._table, self._state, self._run_id = table, state, run_id
        self._uri, self._rejected_uri = table_uri, rejected_uri
        self._folder = Folder(table_uri)

    def run(self, spark: "Callable[[], SparkSession] | SparkSession") -> int:
        """Read the new sources, commit both tables, and return the main table's new version."""
        state, main, rejected = self._state, self._state.main, self._state.rejected
        parts: list[PartFile] = []
        malformed: list[PartFile] = []
        if state.new:
            session: SparkSession = spark() if callable(spark) else spark
            with staging_folder(self._folder) as staging, open_sources(session, self._table, state.new) as reader:
                files, rejected_rows = reader.write_rows(self._folder, f"{staging}/rows")
                staged = self._staged(files, reader.folders)
                found_rows = sum(part.rows for _, part in staged)
                reader.written.check(found_rows, f"InputTable {self._table.name!r}", self._folder.absolute)
                self._check_rejected(reader, rejected_rows, found_rows)
                if rejected_rows:
                    files = reader.write_malformed(self._folder, f"{staging}/malformed")
                    malformed = self._keep_malformed(self._staged(files, reader.folders))
                self._check_counted(rejected_rows, malformed)
                self._check_vanished(found_rows)
                self._check_unchanged()
                parts = self._publish(staged, state.new)
        else:
            self._check_vanished(0)
        counts = Counter[str]()
        for path, rows in [
            *((part.path, part.rows) for part in malformed),
            *((path, part.rows or 0) for path, part in rejected.parts.items() if source_of(path) in state.kept),
        ]:
            counts[source_of(path) or ""] += rows
        metadata = input_metadata(self._table, self._run_id, counts)
        if malformed or state.obsolete(rejected):
            self._commit(self._rejected_uri, _REJECTED_SCHEMA, rejected, malformed, metadata)
        if main.version is not None and not parts and not state.obsolete(main):
            return main.version
        return self._commit(self._uri, arrow_schema(self._table.typed_columns), main, parts, metadata)

    def _commit(
        self, uri: str, schema: pa.Schema, before: Snapshot, parts: Iterable[PartFile], metadata: Mapping[str, str]
    ) -> int:
        description = self._table.description
        if uri == self._rejected_uri:
            description = f"Malformed rows of {self._table.name}: the file, and the record as it is written there"
        made = {part.path: part for part in parts}
        return commit_parts(
            uri,
            schema,
            # A run that ended between the two commits may have left the same malformed rows in the snapshot already.
            add=[
                part
                for path, part in made.items()
                if path not in before.parts or part.size_bytes != before.parts[path].size_bytes
            ],
            remove=[path for path in self._state.obsolete(before) if path not in made],
            metadata=metadata,
            read_version=before.version,
            description=description,
        )

    def _staged(self, files: Iterable[str], folders: Mapping[str, SourceFile]) -> list[tuple[SourceFile, PartFile]]:
        """The files that Spark wrote, each with its source, in the source's order."""
        with ThreadPoolExecutor(read_threads(is_local=self._folder.is_local)) as pool:
            described = list(pool.map(lambda name: describe_part(self._folder, name), files))
        return [(folders[part.path.split("/")[-2]], part) for part in described if part.rows]

    def _publish(self, staged: Iterable[tuple[SourceFile, PartFile]], new: Iterable[SourceFile]) -> list[PartFile]:
        """Give the staged files their names in the table. A source without rows gets an empty part, so that it counts
        as read."""
        numbers: dict[str, int] = {}
        parts = []
        for source, part in staged:
            number = numbers.get(source.fingerprint, 0)
            numbers[source.fingerprint] = number + 1
            parts.append(self._name(self._folder, part, source, number))
        empty = arrow_schema(self._table.typed_columns).empty_table()
        without_rows = [source for source in new if source.fingerprint not in numbers]
        return parts + [self._write_part(self._folder, source, 0, empty) for source in without_rows]

    def _keep_malformed(self, staged: Iterable[tuple[SourceFile, PartFile]]) -> list[PartFile]:
        """Write the text of the malformed rows, with the names of their files, into the folder of the table of rejected
        rows."""
        folder = Folder(self._rejected_uri)
        folder.create()
        parts: list[PartFile] = []
        numbers: dict[str, int] = {}
        for source, part in staged:
            number = numbers.get(source.fingerprint, 0)
            numbers[source.fingerprint] = number + 1
            with self._folder.open_input(part.path) as file:
                table = pq.read_table(file, columns=["record"], page_checksum_verification=True)
            records = table.column("record").cast(pa.string())
            names = pa.repeat(pa.scalar(source.name), len(records))
            rows = pa.table([names, records], schema=_REJECTED_SCHEMA)
            parts.append(self._write_part(folder, source, number, rows))
        return parts

    def _write_part(self, folder: Folder, source: SourceFile, number: int, rows: pa.Table) -> PartFile:
        temporary = f".{uuid.uuid4().hex}.tmp"
        with folder.open_output(temporary) as sink:
            pq.write_table(rows, sink, write_page_checksum=True)
        return self._name(folder, describe_part(folder, temporary), source, number)

    def _name(self, folder: Folder, part: PartFile, source: SourceFile, number: int) -> PartFile:
        final = f"part-{source.fingerprint}-{number:05d}-{folder.sha256(part.path)[:16]}.parquet"
        return publish_by_content(folder, part, final)

    def _check_counted(self, malformed_rows: int, malformed: Iterable[PartFile]) -> None:
        """Both of Spark's jobs must agree on which rows are malformed: otherwise a row would be lost, or appear
        twice."""
        found = sum(part.rows for part in malformed)
        if found != malformed_rows:
            raise TableError(
                f"InputTable {self._table.name!r}: {malformed_rows:,} malformed rows were counted and {found:,} were found "
                f"when they were read again. Source files change while they are read; run again once they are complete. "
                f"Nothing was committed"
            )

    def _check_unchanged(self) -> None:
        changed = [source.name for source in self._state.new if source.has_changed()]
        if changed:
            raise TableError(
                f"InputTable {self._table.name!r}: {len(changed):,} source files were rewritten or deleted while they were "
                f"read (first: {changed[0]}). Nothing was committed; run again once they are complete"
            )

    def _check_rejected(self, reader: SourceReader, malformed_rows: int, good_rows: int) -> None:
        """Check the share of the whole table, so that an incremental refresh accepts exactly what a full one would."""
        kept_rows, kept_malformed = (
            sum(part.rows or 0 for path, part in snapshot.parts.items() if source_of(path) in self._state.kept)
            for snapshot in (self._state.main, self._state.rejected)
        )
        malformed = malformed_rows + kept_malformed
        rows = kept_rows + good_rows + malformed
        share = malformed / rows if rows else 0.0
        if not malformed_rows or share <= self._table.max_rejected_share:
            return
        worst = "; ".join(f"{count:,} in {source.name}" for source, count in reader.count_malformed(5))
        raise RowsRejectedError(
            f"InputTable {self._table.name!r}: {malformed:,} of {rows:,} rows ({share:.2%}) do not parse as the declared "
            f"columns, over max_rejected_share={self._table.max_rejected_share:g}. Most: {worst}. A value that is not of its "
            f"column's type, or a row with too few or too many fields: check columns and options ({self._shown_options()}), "
            f"fix the files, or raise the limit: {self._table.name}__rejected then holds the text of these rows. Nothing was "
            f"committed"
        )

    def _check_vanished(self, new_rows: int) -> None:
        """Refuse to remove many rows because sources were truncated: an incomplete upload must not pass for data."""
        main = self._state.main
        before = main.rows
        vanished = sum(main.parts[path].rows or 0 for path in self._state.obsolete(main)) - new_rows
        if not before or vanished / before <= self._table.max_vanished_share:
            return
        raise RowsVanishedError(
            f"InputTable {self._table.name!r}: {vanished:,} of {before:,} rows ({vanished / before:.2%}) would leave the "
            f"table, over max_vanished_share={self._table.max_vanished_share:g}: source files were removed, or were replaced "
            f"by files with fewer rows (perhaps a header alone). Nothing was committed. Restore the files, or set "
            f"max_vanished_share: 1 for this refresh if the rows are meant to go"
        )

    def _shown_options(self) -> str:
        names = sorted(name for name, _ in self._table.typed_options)
        return ", ".join(names) or "none are set"

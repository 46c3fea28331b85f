"""Table: what lies at a table's address, read once."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import tee
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.files.folder_files import check_inside, folder_files
from sparktorch_assets.lake.files.partition_values import Partition
from sparktorch_assets.lake.log.deletions import KeptRows, unpack_rows
from sparktorch_assets.lake.log.own_metadata import kept_metadata, our_metadata
from sparktorch_assets.lake.log.snapshot import Snapshot, check_root, data_version_of, open_delta, snapshot_of
from sparktorch_assets.lake.parquet.file_columns import FileColumns
from sparktorch_assets.lake.parquet.footers import read_footers
from sparktorch_assets.lake.parquet.merged_schema import merged_schema
from sparktorch_assets.lake.parquet.types import check_names
from sparktorch_assets.lake.parts.damage import damaged_file


class Table:
    """A table as it is when this object is made: a Delta table, a folder of Parquet files, or one file.

    The Delta log is opened at once, and read no more than once for everything that is asked here. What others commit
    later is seen by the next `Table` of that address.

    Args:
        uri: the table's path or URI.
        version: the version of the Delta table to read; `None` is the latest.

    Raises:
        TableError: the Delta table cannot be read, or uses features that are not supported here.
    """

    def __init__(self, uri: str, version: int | None = None) -> None:
        self.folder = Folder(uri)
        self.uri = uri
        self._delta = open_delta(self.folder, version)
        self._commits = iter(()) if self._delta is None else our_metadata(self.folder, self.version)

    @property
    def version(self) -> int | None:
        """The version of the Delta table; `None` if there is none."""
        return None if self._delta is None else int(self._delta.version())

    @cached_property
    def snapshot(self) -> Snapshot:
        """The parts of the Delta table; an empty snapshot if there is none."""
        if self._delta is None:
            check_root(self.folder)
            return Snapshot(version=None, parts={}, schema=None)
        return snapshot_of(self._delta, self.folder)

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The metadata of our latest commit to the Delta table; empty if there is none.

        Other writers' commits (OPTIMIZE, a user's DELETE) may follow it, so compare the version's parts before trusting
        it. It is known even if they have deleted our commits from the log as too old.
        """
        if self._delta is None:
            return {}
        found = next(filter(None, self.commits()), None)  # nearly always that of the last commit
        return kept_metadata(self.folder) if found is None else found

    def commits(self) -> Iterator[dict[str, str]]:
        """Our own metadata of each commit up to the table's version, the newest first; empty for a commit of another
        writer. Each commit is read when somebody first gets that far, and only once."""
        self._commits, found = tee(self._commits)
        return found

    def lost_parts(self) -> set[str]:
        """The paths of the parts whose files are missing, or have another size than the log records; for tables without
        partitions.

        Every writer of a table writes these parts again, whatever else has changed, so any loss is repaired.
        """
        parts = self.snapshot.parts
        sizes = {entry.path: entry.size_bytes for entry in self.folder.files(recursive=False)} if parts else {}
        return {path for path, part in parts.items() if sizes.get(path) != part.size_bytes}

    @property
    def data_version(self) -> str:
        """A hash of the part names and the schema: the same content-addressed parts give the same version."""
        return data_version_of(self.snapshot.parts, self.snapshot.schema)

    @cached_property
    def files(self) -> list[DataFile]:
        """The files that hold the rows, sorted by path.

        Raises:
            TableError: there is no such table, or its rows cannot be determined from its files alone.
        """
        if self._delta is None:
            files = sorted(folder_files(self.folder), key=lambda file: file.path)
        else:
            files = list(self.snapshot.parts.values())
        check_inside(self.folder, (file.path for file in files))
        return files

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns: those in the Delta log, else the union of the Parquet files' columns.

        Raises:
            TableError: there is no such table, or it cannot be read correctly.
            InputSchemaError: its files disagree about a column's type, or its column names are not distinct.
        """
        if self._delta is not None:
            schema = pa.schema([field.remove_metadata() for field in pa.schema(self._delta.schema().to_arrow())])
        else:
            footers = read_footers(self.files)
            paths = (file.path for file in self.files)
            schema = merged_schema(dict(zip(paths, (footer.schema for footer in footers), strict=True)))
            for name, _ in self.files[0].partition:
                if name not in schema.names:
                    schema = schema.append(pa.field(name, pa.string()))
        check_names(schema.names)
        return schema

    @cached_property
    def _by_partition(self) -> dict[Partition, list[DataFile]]:
        found: dict[Partition, list[DataFile]] = {}
        for file in self.files:
            found.setdefault(file.partition, []).append(file)
        return found

    def files_in(self, partition: Partition) -> list[DataFile]:
        """The files of one partition; all files for `()`."""
        return self._by_partition.get(partition, []) if partition else self.files

    def batches(self, columns: Sequence[str], batch_rows: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """All rows, with only these columns: pairs of a file's index in `files` and some of its rows, in their order.

        Raises:
            TableError: a file is damaged, or has none of the columns.
        """
        for index, _ in enumerate(self.files):
            for batch in self.file_batches(index, columns, batch_rows):
                yield index, batch

    def file_batches(self, index: int, columns: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """The rows of the file with that index in `files`, as `batches` gives them."""
        return read_file(self.files[index], pa.schema([self.schema.field(name) for name in columns]), batch_rows)

    def row_count(self, partition: Partition = ()) -> int:
        """The number of rows that readers see, in the table or in one partition, from the log's statistics or, for files
        without any, from their footers."""
        files = self.files_in(partition)
        untold = [file for file in files if file.rows is None]
        total = sum(footer.rows for footer in read_footers(untold)) + sum(file.rows or 0 for file in files)
        return total - sum(int.from_bytes(file.deleted, "little").bit_count() for file in files)

    def preview(self, rows: int, partition: Partition = ()) -> list[dict[str, Any]]:
        """The first `rows` rows of the table, or of one partition, in the order of the files' paths."""
        found: list[dict[str, Any]] = []
        for file in self.files_in(partition) if rows > 0 else []:
            for batch in read_file(file, self.schema, rows):
                found += batch.slice(0, rows - len(found)).to_pylist()
                if len(found) == rows:
                    return found
        return found


def table_version(table: str) -> int | None:
    """The Delta version that readers see; `None` if there is no Delta table."""
    return Table(table).version


def data_version(table: str, partition: Mapping[str, str] | None = None) -> str:
    """A hash of the names of a Delta table's parts and of its schema: the same content-addressed parts give the same
    version.

    Args:
        table: path or URI of the table.
        partition: `{"ds": "2013-01-01"}` takes only the parts of that partition.
    """
    snapshot = Table(table).snapshot
    parts = snapshot.parts_of(tuple((partition or {}).items()))
    return data_version_of(parts, snapshot.schema)


def read_file(file: DataFile, schema: pa.Schema, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """The rows of one of the table's files, without those that the table deleted.

    Args:
        file: the file.
        schema: the columns to read, in the table's types.
        batch_rows: the most rows of a batch.
    """
    with (
        Folder(file.uri).open_input() as source,
        pq.ParquetFile(source, coerce_int96_timestamp_unit="us", page_checksum_verification=True) as parquet,
    ):
        columns = FileColumns(file, parquet.metadata, schema)
        kept = KeptRows(unpack_rows(file.deleted, parquet.metadata.num_rows if file.deleted else 0))
        batches = parquet.iter_batches(batch_size=batch_rows, columns=columns.names)
        while (batch := _next(file, batches)) is not None:
            yield columns.conform(kept.of_next(batch))


def _next(file: DataFile, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
    try:
        return next(batches, None)
    except (OSError, pa.ArrowException) as error:
        raise damaged_file(file.uri, error) from error

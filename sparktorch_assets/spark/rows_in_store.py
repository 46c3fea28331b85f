"""Writes the rows of a DataFrame as Parquet files into a folder of an object store, from Spark's Python workers.

Spark's own writer needs a Hadoop file system for each kind of store, which is a jar that pip's pyspark does not have.
`pyarrow.fs`, through which everything else here reads and writes stores, needs none.
"""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.spark.session.stoppable import run_stoppable
from sparktorch_assets.storage.scopes import StorageScopes, storage_scopes

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_PATH = "path"


def write_to_store(
    spark: "SparkSession",
    data: "DataFrame",
    folder: Folder,
    path: str,
    schema: pa.Schema,
    *,
    by: str | None = None,
    group_rows: int = 1 << 20,
    group_bytes: int = 64 << 20,
) -> list[str]:
    """Write the rows, and return the paths of the files, relative to the folder, sorted.

    Only the files of tasks that succeeded are returned. Those that failed, or were repeated, may leave others.

    Args:
        spark: the session of `data`.
        data: the rows.
        folder: a folder in a store. Workers open it with the driver's storage options.
        path: the new folder for the files, relative to `folder`.
        schema: the columns of the files, in the order of those of `data` without `by`.
        by: a column by whose values the rows are divided into folders, `<by>=<value>`. It is not in the files. Rows
            with equal values should follow one another.
        group_rows: the most rows of a row group.
        group_bytes: a row group ends when its rows take this much memory.
    """
    write = _Write(uri=folder.uri, path=path, schema=schema, by=by, group_rows=group_rows, group_bytes=group_bytes)
    written = data.mapInArrow(write, f"{_PATH} string")
    rows = run_stoppable(spark, written.collect)
    return sorted(row[0] for row in rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Write:
    """The function that `mapInArrow` calls in a worker."""

    uri: str
    path: str
    schema: pa.Schema
    by: str | None
    group_rows: int
    group_bytes: int
    storage: StorageScopes = field(default_factory=storage_scopes, repr=False)
    """The storage options with which workers open the folder: those of the driver."""

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        self.storage.use()
        context = TaskContext.get()
        task = 0 if context is None else context.partitionId()
        folder, written = Folder(self.uri), list[str]()
        file: _File | None = None
        for value, batch in self._divided(batches):
            if file is not None and file.value != value:
                written.append(file.close())
                file = None
            if file is None:
                inside = "" if value is None else f"{self.by}={value}/"
                name = f"part-{task:05d}-{len(written):05d}-{uuid.uuid4().hex}.parquet"
                file = _File(folder, f"{self.path}/{inside}{name}", value, self)
            file.add(batch)
        if file is not None:
            written.append(file.close())
        yield pa.record_batch({_PATH: pa.array(written, pa.string())})

    def _divided(self, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str | None, pa.RecordBatch]]:
        """Pairs of the value of `by` and the other columns of rows that follow one another and have this value."""
        for batch in batches:
            if self.by is None:
                yield None, batch
                continue
            runs = pc.run_end_encode(batch.column(self.by))
            rest, start = batch.drop_columns([self.by]), 0
            for value, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
                yield value, rest.slice(start, end - start)
                start = end


class _File:
    """One file that is being written, and the rows of its next row group."""

    def __init__(self, folder: Folder, path: str, value: str | None, write: _Write) -> None:
        self.value = value
        self._path, self._write = path, write
        self._waiting: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0
        self._sink: Any = folder.open_output(path)
        self._writer = pq.ParquetWriter(self._sink, write.schema, compression="snappy", write_page_checksum=True)

    def add(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= self._write.group_rows or self._bytes >= self._write.group_bytes:
            self._flush()

    def close(self) -> str:
        self._flush()
        self._writer.close()
        self._sink.close()
        return self._path

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting).rename_columns(self._write.schema.names)
            self._writer.write_table(table.cast(self._write.schema), row_group_size=self._write.group_rows)
        self._waiting, self._rows, self._bytes = [], 0, 0

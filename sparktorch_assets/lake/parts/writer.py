"""Writes one part: under a temporary name in its table's folder, with its receipt in the footer, and renames it at the
end. In a store, a small part is written under its final name at once (`held_file.py`).

The last step only waits for the disk, so another thread can do it.

Memory is bounded by what is buffered (`_BUFFER_ROWS` rows or `_BUFFER_BYTES`), whatever the part's size.
"""

import contextlib
import math
import os
import time
import uuid
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.files.folder import Folder, FolderEntry
from sparktorch_assets.lake.files.partition_values import Partition
from sparktorch_assets.lake.files.write_failure import write_failure
from sparktorch_assets.lake.parquet.encodings import dictionary_columns, no_statistics_columns
from sparktorch_assets.lake.parquet.nan_columns import columns_with_nan
from sparktorch_assets.lake.parquet.stats import delta_stats
from sparktorch_assets.lake.parts.file import PartFile, part_path, publish_held, publish_part
from sparktorch_assets.lake.parts.held_file import HeldFile
from sparktorch_assets.lake.parts.receipt import RECEIPT_KEY, Receipt
from sparktorch_assets.tally import Tally

_BUFFER_ROWS = 1 << 20
_BUFFER_BYTES = 64 << 20
_GROUP_ROWS = 1 << 17
"""The most rows of a row group, which is what readers skip: finding one row in a part takes a fifth of the time that it
takes with groups of 2^20, and files are as large and as fast to write and read (benchmarks/LOG.md). What is buffered is
more, since columns have bounds only if it is known which of them hold a NaN."""


class PartWriter:
    """Writes one part. Use it as a context manager: leaving it without `finish` deletes the temporary file."""

    def __init__(
        self,
        folder: Folder,
        fingerprint: str,
        schema: pa.Schema,
        *,
        source: Callable[[], pq.FileMetaData | None] = lambda: None,
        added: Collection[str] = (),
        partition: Partition = (),
    ) -> None:
        """Prepare a part; no file is opened before the first row group is written.

        Args:
            folder: the table's folder.
            fingerprint: the fingerprint after which the part is named.
            schema: the columns of the batches to write.
            source: returns the footer of the file from which the kept columns come, which shows which encodings are
                worthwhile. Called when the first row group is written.
            added: columns that the source lacks.
            partition: the part's partition values.
        """
        self.path = part_path(fingerprint, partition)
        head, _, name = self.path.rpartition("/")
        # Unique per attempt: speculative copies of a task write the same part at the same time. The dot hides it.
        self._temporary = f"{head}/" * bool(head) + f".{name}.{os.getpid()}-{uuid.uuid4().hex[:12]}.tmp"
        self._folder, self._fingerprint, self._schema = folder, fingerprint, schema
        self._source, self._added, self._partition = source, added, partition
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = self._waiting_bytes = 0
        self._nan_columns: set[str] = set()
        self._writer: pq.ParquetWriter | None = None
        self._sink: Any = None
        self._footer: pq.FileMetaData | None = None
        self._receipt: Receipt | None = None
        self.rows = 0
        self.seconds = 0.0
        """Seconds spent in `write`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def write(self, batch: pa.RecordBatch) -> None:
        """Append the batch's rows.

        Raises:
            DiskFullError: the disk is full; the temporary file was deleted.
        """
        start = time.perf_counter()
        self.rows += batch.num_rows
        self._waiting.append(batch)
        self._waiting_rows += batch.num_rows
        self._waiting_bytes += batch.nbytes
        if self._waiting_rows >= _BUFFER_ROWS or self._waiting_bytes >= _BUFFER_BYTES:
            self._flush(is_last=False)
        self.seconds += time.perf_counter() - start

    def finish(self, tally: Tally) -> tuple[PartFile, Receipt]:
        """`close` and `publish`, for callers that have nothing to do in between."""
        self.close(tally)
        return self.publish()

    def close(self, tally: Tally) -> None:
        """Write the buffered rows, and the footer with the receipt.

        Raises:
            DiskFullError: the disk is full; the temporary file was deleted.
        """
        start = time.perf_counter()
        self._flush(is_last=True)
        assert self._writer is not None
        tally.spend("write", self.seconds + time.perf_counter() - start)
        self._receipt = Receipt(
            fingerprint=self._fingerprint, rows=self.rows, tally=tally, nan_columns=tuple(sorted(self._nan_columns))
        )
        with self._guard():
            self._writer.add_key_value_metadata({RECEIPT_KEY: self._receipt.to_json().encode()})
            self._writer.close()
            self._footer = self._writer.writer.metadata
            self._writer = None

    def publish(self) -> tuple[PartFile, Receipt]:
        """Flush the closed file to disk, and give it its final name.

        If another writer has finished a part of this name meanwhile, that part stays and is returned, since a commit
        may already record its size. An incomplete one is replaced.

        Raises:
            DiskFullError: the disk is full; the temporary file was deleted.
            TableError: the file cannot be written, or was deleted meanwhile.
        """
        assert self._footer is not None
        assert self._receipt is not None
        with self._guard():
            held = self._sink.content if isinstance(self._sink, HeldFile) else None
            self._sink.close()
            if held is None:
                whole = publish_part(self._folder, self._temporary, self.path)
            else:
                whole = publish_held(self._folder, held, self.path)
            if whole is not None:
                self.abort()
                return whole
            self._sink = None
            if held is None:
                entry = self._folder.info(self.path)
            else:
                entry = FolderEntry(path=self.path, size_bytes=len(held), modified_ms=time.time_ns() // 1_000_000)
        if entry is None:
            raise TableError(
                f"{self._folder.full(self.path)} was deleted right after it was written; did a vacuum with too short a "
                f"retention run meanwhile? Nothing of it was committed; run again"
            )
        part = PartFile(
            path=self.path,
            size_bytes=entry.size_bytes,
            modified_ms=entry.modified_ms,
            rows=self.rows,
            stats=delta_stats(
                self._footer, self._schema, self._receipt.nan_columns, may_gain_columns=bool(self._partition)
            ),
            partition=self._partition,
        )
        return part, self._receipt

    def abort(self) -> None:
        """Delete the temporary file, if there is one."""
        for opened in (self._writer, self._sink):
            if opened is not None:
                with contextlib.suppress(Exception):
                    opened.close()
        lies = self._sink is not None and not (isinstance(self._sink, HeldFile) and self._sink.content is not None)
        self._writer = self._sink = None
        self._waiting.clear()
        if lies:
            with contextlib.suppress(OSError):
                self._folder.delete(self._temporary)

    def _flush(self, *, is_last: bool) -> None:
        if not self._waiting and not (is_last and self._writer is None):
            return
        batches = self._waiting or [pa.RecordBatch.from_pylist([], schema=self._schema)]
        table = pa.Table.from_batches(batches, schema=self._schema)
        self._nan_columns |= columns_with_nan(table)
        with self._guard():
            if self._writer is None:
                self._open(batches[0], is_whole_part=is_last)
            assert self._writer is not None
            # Of equal size, so that none is left with a few rows.
            groups = max(1, math.ceil(table.num_rows / _GROUP_ROWS))
            self._writer.write_table(table, row_group_size=max(1, math.ceil(table.num_rows / groups)))
        self._waiting.clear()
        self._waiting_rows = self._waiting_bytes = 0

    def _open(self, sample: pa.RecordBatch, *, is_whole_part: bool) -> None:
        if self._partition:
            self._folder.create(self._temporary.rpartition("/")[0])
        # Parquet's bounds ignore NaN, which DataFusion sorts above all numbers, so it would skip row groups that hold
        # one. If more is written later, any floating-point column may still get one.
        with_nan = (
            self._nan_columns if is_whole_part else [c.name for c in self._schema if pa.types.is_floating(c.type)]
        )
        bare = {*no_statistics_columns(self._schema), *with_nan}
        folder, temporary = self._folder, self._temporary
        self._sink = folder.open_output(temporary) if folder.is_local else HeldFile(folder, temporary)
        self._writer = pq.ParquetWriter(
            self._sink,
            self._schema,
            use_dictionary=dictionary_columns(sample, self._source(), self._added),
            write_statistics=[name for name in self._schema.names if name not in bare] if bare else True,
            compression="snappy",
            write_page_checksum=True,
        )

    @contextlib.contextmanager
    def _guard(self) -> Any:
        """Delete the temporary file on any error, and say what is wrong with the disk."""
        try:
            yield
        except OSError as error:
            self.abort()
            raise write_failure(self._folder, self.path, error) from error
        except BaseException:
            self.abort()
            raise

"""The code that runs in Spark's Python workers: it reads a shard, predicts, and writes its part. No row crosses the
JVM.

torch is loaded only here. Every worker needs this package and whatever the task names by import path, and must find the
input, the output and the models at the same paths or URIs.
"""

import gc
import itertools
import json
import os
import pickle
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.cut.piece import Piece
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.files.partition_values import Partition
from sparktorch_assets.lake.parquet.file_columns import FileColumns
from sparktorch_assets.lake.parts.file import PartFile
from sparktorch_assets.lake.parts.receipt import Receipt
from sparktorch_assets.lake.parts.writer import PartWriter
from sparktorch_assets.lake.rows.joined_batches import joined_batches
from sparktorch_assets.lake.rows.piece_reader import PieceReader
from sparktorch_assets.lake.shards import Shard
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.rows.filter import BatchFilter
from sparktorch_assets.spark.score.job.result_rows import packed_rows
from sparktorch_assets.spark.score.job.row_cost import CostQuestion, CostWatch, RowCost, RowsAreCostly
from sparktorch_assets.spark.score.job.rows_hint import RowsHint
from sparktorch_assets.spark.sealed_task import SealedTask
from sparktorch_assets.spark.task_place import task_place
from sparktorch_assets.spark.worker_errors import marked
from sparktorch_assets.storage.scopes import StorageScopes, storage_scopes
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import MlTask, SlotPolicy
from sparktorch_assets.tasks.code.imported_code import check_code
from sparktorch_assets.tasks.row_filter import RowFilter
from sparktorch_assets.tasks.row_test import row_tests

if TYPE_CHECKING:
    from sparktorch_assets.predict.local import LocalPredictor

_frozen: list[bool] = []


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreJob:
    """Everything that a worker needs to know. It is sent to the workers as part of the function."""

    task: MlTask
    model_loader: ModelLoader
    slots: SlotPolicy
    batch_size: int | None
    concurrent_slots: int
    """Number of slots that work at once on one host."""
    output_table: str
    read_schema: pa.Schema
    schema: pa.Schema
    """Schema of the parts."""
    files_digest: str
    """Digest of the model's files."""
    code: Mapping[str, str]
    """The user's code that this job runs: piece -> digest."""
    packs: tuple[bytes, ...] = field(repr=False)
    """The shards of each pack, serialized by `pack`; a worker deserializes only its own."""
    rows_of: Mapping[Partition, tuple[RowFilter, ...]] = field(default_factory=dict)
    """Partition of the output -> the conditions that select its rows of the input."""
    question: CostQuestion | None = None
    """What the workers find out about the cost of a row; if its answer is yes, they end without scoring every shard."""
    storage: StorageScopes = field(default_factory=storage_scopes, repr=False)
    """The storage options with which workers open files: those of the driver."""

    def __reduce__(self) -> tuple[Any, ...]:
        """The job is pickled with its task sealed, since it is unpickled for every pack."""
        rest = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "task"}
        return _with_task, (SealedTask(self.task), rest)


def _with_task(sealed: SealedTask, rest: Mapping[str, Any]) -> ScoreJob:
    return ScoreJob(task=sealed.task, **rest)


def pack(shards: Sequence[Shard]) -> bytes:
    """Serialize the shards of a pack."""
    return zlib.compress(pickle.dumps(list(shards)), 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardResult:
    """What a worker returns for a finished shard."""

    part: PartFile
    receipt: Receipt
    slot: str
    """The host and process that did the work."""
    busy_s: float

    def to_json(self) -> str:
        """The result as one line of JSON, of which a Spark task's result rows consist."""
        part = {name: getattr(self.part, name) for name in ("path", "size_bytes", "modified_ms", "rows", "stats")}
        return json.dumps(
            {
                "part": part | {"partition": self.part.partition},
                "receipt": self.receipt.to_plain(),
                "slot": self.slot,
                "busy_s": self.busy_s,
            }
        )

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "ShardResult":
        """The result, from the JSON object that `to_json` wrote."""
        partition = tuple((name, value) for name, value in plain["part"].pop("partition"))
        return cls(
            part=PartFile(**plain["part"], partition=partition),
            receipt=Receipt.from_plain(plain["receipt"]),
            slot=plain["slot"],
            busy_s=plain["busy_s"],
        )


def bind(job: ScoreJob) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that `mapInArrow` calls with record batches of pack numbers."""

    def score(numbers: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return score_packs(job, numbers)

    return score


def score_packs(job: ScoreJob, numbers: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Score the packs with these numbers, and yield rows with the results of the finished shards."""
    results = (
        result.to_json()
        for batch in numbers
        for number in batch.column(0).to_pylist()
        for result in score_pack(job, number)
    )
    for row in packed_rows(results):
        yield pa.RecordBatch.from_pydict({"result": [row]})


def score_pack(job: ScoreJob, number: int) -> Iterator[ShardResult | RowCost]:
    """Score one pack. A batch for the model may contain rows of several shards, so that small shards cause no small
    batches. If the job's shards take too long, the cost of a row comes instead of those that are not finished.

    Raises:
        RuntimeError: anything went wrong; its message contains the error for the driver.
    """
    job.storage.use()
    work = _PackWork(job, number)
    try:
        with closing(work):
            yield from work.run()
    except GeneratorExit:  # the caller wants no more results
        raise
    except BaseException as error:  # noqa: BLE001  (including an exit, and a panic of a Rust library)
        raise marked(error, work.doing) from None


class _Selection:
    """The rows for which conditions hold: for row groups, by their bounds, and for rows."""

    def __init__(self, conditions: Sequence[RowFilter], job: ScoreJob) -> None:
        place = f"task {job.task.name!r}"
        # The types of thousands of columns take longer to spell than their rows to filter, so only where they are used.
        types = {column.name: str(column.type) for column in job.read_schema} if conditions else {}
        self.tests = row_tests(conditions, types, place)
        self.filter = BatchFilter(conditions, place)


class _PackWork:
    """One pass over a pack, which reads shards ahead of the one that is being written."""

    def __init__(self, job: ScoreJob, number: int) -> None:
        self._job, self._number = job, number
        self._shards: list[Shard] = pickle.loads(zlib.decompress(job.packs[number]))  # noqa: S301  (our own bytes)
        self._tallies = [Tally() for _ in self._shards]
        self._footers: dict[int, pq.FileMetaData] = {}
        self._columns: FileColumns | None = None
        """The columns of the piece that was read last, which those of the next mostly equal."""
        self._selections: dict[Partition, _Selection] = {}
        self._where = _Selection(job.task.where, job)
        self._folder = Folder(job.output_table)
        self._added = {column.name for column in job.task.output_columns}
        self._cost = CostWatch(job.question, self._tallies, drops_predicted=job.task.hooks.postprocesses)
        self._telling = threading.Lock()
        self._rows_done = self._rows_before = 0
        self._since = time.perf_counter()
        self._predictor: LocalPredictor | None = None
        self._publisher = ThreadPoolExecutor(1, "publish-part")
        self._publishing: Future[ShardResult] | None = None
        self._hint: RowsHint
        """Reports the pack's progress while a shard's part is being written; made with the part's writer."""
        self.doing = f"task {job.task.name!r}, bringing the model up"

    def run(self) -> Iterator[ShardResult | RowCost]:
        """Score the pack, and yield results in the order of the shards."""
        if self._cost.found is not None:
            yield self._cost.found
            return
        from sparktorch_assets.predict.local import LocalPredictor
        from sparktorch_assets.predict.partition import predict_keyed

        job = self._job
        check_code(job.code)
        loader, self._files = job.model_loader.with_planned_files(job.task, job.files_digest)
        _, gpu_addresses = task_place()
        predictor = self._predictor = LocalPredictor(
            job.task,
            job.batch_size,
            self._number,
            model_loader=loader,
            slots=job.slots,
            concurrent_slots=job.concurrent_slots,
            gpu_addresses=gpu_addresses,
            waits_for_gpu=True,
        )
        check_code(job.code)
        _freeze()
        predicted = predict_keyed(
            self._read(),
            predictor=predictor,
            schema=job.schema,
            tally_of=lambda index: self._tallies[index],
            on_rows=self._on_rows,
        )
        at = 0
        writer = self._writer(at)
        try:
            for index, batch in predicted:
                while at < index:  # results come in order, so the shards before are complete
                    yield from self._finish(at, writer)
                    at += 1
                    writer = self._writer(at)
                writer.write(batch)
            while at < len(self._shards):
                yield from self._finish(at, writer)
                at += 1
                if at < len(self._shards):
                    writer = self._writer(at)
            yield from self._published()
        except RowsAreCostly as found:
            yield from self._published()
            yield found.cost
        finally:
            self._publisher.shutdown()  # a finished part is kept, whatever else went wrong
            self._hint.clear()
            writer.abort()

    def close(self) -> None:
        """Let others have the slot's GPU, once nothing of the run refers to its model."""
        if self._predictor is not None:
            self._predictor.close()

    def _on_rows(self, rows: int) -> None:
        """Note that rows were predicted, failed or left out. Can be called from any thread."""
        self._tell(rows)
        self._cost.look()

    def _tell(self, rows: int) -> None:
        """Add to the number of the pack's finished rows: predicted, failed or filtered ones. Can be called from any
        thread."""
        with self._telling:
            self._rows_done += rows
            self._hint.tell(self._rows_done - self._rows_before)

    def _read(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        for index, shard in enumerate(self._shards):
            batches = itertools.chain.from_iterable(self._read_piece(index, piece) for piece in shard.pieces)
            yield from ((index, rows) for rows in (joined_batches(batches) if len(shard.pieces) > 1 else batches))

    def _read_piece(self, index: int, piece: Piece) -> Iterator[pa.RecordBatch]:
        self.doing = f"task {self._job.task.name!r}, {piece}"
        shard, tally = self._shards[index], self._tallies[index]
        inside = self._selection(shard.partition)
        start = time.perf_counter()
        with PieceReader(piece, self._job.read_schema, self._where.tests, inside.tests, before=self._columns) as reader:
            self._columns = reader.columns
            if piece is shard.pieces[0]:
                self._footers[index] = reader.footer
            tally.filtered += reader.filtered_rows
            tally.outside += reader.outside_rows
            self._tell(reader.filtered_rows + reader.outside_rows)
            for batch in reader.batches():
                rows = inside.filter.rows(batch)
                if rows.num_rows < batch.num_rows:
                    tally.outside += batch.num_rows - rows.num_rows
                    self._tell(batch.num_rows - rows.num_rows)
                tally.spend("read", time.perf_counter() - start)
                yield rows
                start = time.perf_counter()

    def _selection(self, partition: Partition) -> "_Selection":
        """The rows of a partition; all rows for `()`."""
        if partition not in self._selections:
            self._selections[partition] = _Selection(self._job.rows_of.get(partition, ()), self._job)
        return self._selections[partition]

    def _writer(self, index: int) -> PartWriter:
        with self._telling:
            if index:
                self._hint.settle(self._shards[index - 1].rows)
            self._rows_before = sum(shard.rows for shard in self._shards[:index])
            self._hint = RowsHint(self._folder, self._shards[index].part_path)
        return PartWriter(
            self._folder,
            self._shards[index].fingerprint,
            self._job.schema,
            source=lambda: self._footers.pop(index, None),  # known once the shard's first file has been opened
            added=self._added,
            partition=self._shards[index].partition,
        )

    def _finish(self, index: int, writer: PartWriter) -> Iterator[ShardResult]:
        """Close the shard's part, let a thread wait for the disk, and yield the result of the previous shard, if there
        is one."""
        shard, tally = self._shards[index], self._tallies[index]
        if not tally.balanced or tally.all_rows != shard.rows:
            raise TableError(
                f"task {self._job.task.name!r}: of {shard.rows:,} rows ({shard}), {tally.outside:,} are of other "
                f"partitions, {tally.filtered:,} were filtered, {tally.predicted:,} predicted, {tally.failed:,} failed and {tally.dropped:,} dropped, which does "
                f"not add up. This is a fault of the library: please report it"
            )
        check_code(self._job.code)
        self._files.check()  # all rows of the part are predicted, so later changes cannot affect them
        writer.close(tally)
        now = time.perf_counter()
        busy, self._since = now - self._since, now
        yield from self._published()
        self._publishing = self._publisher.submit(_publish, writer, self._hint, busy)

    def _published(self) -> Iterator[ShardResult]:
        if self._publishing is not None:
            yield self._publishing.result()
            self._publishing = None


def _publish(writer: PartWriter, hint: RowsHint, busy_s: float) -> ShardResult:
    part, receipt = writer.publish()
    hint.clear()
    return ShardResult(part=part, receipt=receipt, slot=f"{socket.gethostname()}:{os.getpid()}", busy_s=busy_s)


def _freeze() -> None:
    # Spark's daemon runs a full gc.collect() after every task: with torch loaded that is 70 ms, half of a task's cost.
    if not _frozen:
        gc.collect()
        gc.freeze()
        _frozen.append(True)

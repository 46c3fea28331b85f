"""Rows with known answers: a worker predicts them before anything else is scored with a new model.

They are sent with the job, since they are few, and predicted on a worker, since that is where the model has to be right:
with the worker's device, libraries and code.
"""

import base64
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from sparktorch_assets.audit.canary_answers import compare_answers
from sparktorch_assets.audit.task_audit import CANARIES_KEY, TaskAudit
from sparktorch_assets.errors import ModelError, SparktorchError, TaskError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.schema import output_schema
from sparktorch_assets.spark.score.job.result_rows import RESULT_SCHEMA
from sparktorch_assets.spark.session.gpu.worker_share import share_profile
from sparktorch_assets.spark.session.shipped_code import with_code
from sparktorch_assets.spark.session.slot_count import find_slots
from sparktorch_assets.spark.session.stoppable import run_stoppable
from sparktorch_assets.spark.session.worker_pool import workers_for
from sparktorch_assets.spark.session.worker_python import explain_worker_failure
from sparktorch_assets.spark.task_place import task_place
from sparktorch_assets.spark.worker_errors import find_marked, marked, own_error, reason_of
from sparktorch_assets.storage.scopes import StorageScopes, storage_scopes
from sparktorch_assets.tasks import MlTask, SlotPolicy
from sparktorch_assets.tasks.code.imported_code import DECLARED, check_code
from sparktorch_assets.tasks.digest import digest_of, files_digest, task_digest
from sparktorch_assets.tasks.files.model_files import check_file, file_sha256

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LOG = logging.getLogger(__name__)
_MOST_ROWS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Canaries:
    """The canaries of a task, read once.

    Attributes:
        task: the task as it predicts them: without its `where`, and keeping what they have of the columns that it keeps.
        rows: the input columns.
        expected: the expected values, in columns with the names of output columns.
        key: a digest of everything that decides about the answers, the file included.
    """

    task: MlTask
    rows: pa.RecordBatch
    expected: pa.Table
    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _CanaryJob:
    """Everything that the worker needs to know."""

    task: MlTask
    model_loader: ModelLoader
    slots: SlotPolicy
    batch_size: int | None
    files_digest: str
    """Digest of the model's files."""
    code: Mapping[str, str]
    """The user's code that this job runs: piece -> digest."""
    rows: pa.RecordBatch = field(repr=False)
    storage: StorageScopes = field(default_factory=storage_scopes, repr=False)
    """The storage options of the driver."""


def find_canaries(task: MlTask, loader: ModelLoader, model_digest: str) -> Canaries | None:
    """The canaries of a task that declares some; `None` for another.

    Args:
        task: the settled task.
        loader: its settled loader, under whose models root the file is. From a URI, it is copied to this host.
        model_digest: the digest of the model.

    Raises:
        ModelError: there is no such file, or it is no Parquet file.
        TaskError: it names no output column, has no rows, or too many.
        InputSchemaError: the task cannot read its columns.
    """
    if task.audit.canaries is None:
        return None
    path = loader.store.fetch_file(str(task.audit.canaries))
    where = f"task {task.name!r}: audit.canaries={str(task.audit.canaries)!r}"
    table = _read(path, where)
    outputs = [column.name for column in task.output_columns if column.name in table.column_names]
    if not outputs:
        raise TaskError(
            f"{where} holds no expected values; add a column with the name of an output column "
            f"({', '.join(column.name for column in task.output_columns)})"
        )
    if not 1 <= table.num_rows <= _MOST_ROWS:
        raise TaskError(
            f"{where} has {table.num_rows:,} rows; give from 1 to {_MOST_ROWS:,}, since they are sent with the job"
        )
    given = table.drop_columns(outputs).combine_chunks()
    kept = tuple(name for name in task.kept_columns(given.column_names) if name in given.column_names)
    code = {piece: found for piece, found in loader.code(task).items() if not piece.endswith(DECLARED)}
    return Canaries(
        task=replace(task, where=(), keep_columns=kept),
        rows=given.to_batches()[0],
        expected=table.select(outputs),
        key=digest_of(
            [
                *(model_digest, task_digest(task), loader.digest(task), code),
                *(file_sha256(path), task.audit.canary_tolerance),
            ]
        ),
    )


def ask_canaries(
    canaries: Canaries | None,
    audit: TaskAudit,
    recorded: Mapping[str, str],
    session: "Callable[[], SparkSession]",
    *,
    model_loader: ModelLoader,
    slots: SlotPolicy,
    batch_size: int | None,
) -> None:
    """Have a worker predict the canaries, unless the table's last commit says that this model has answered them already.

    Args:
        canaries: the canaries; `None` asks nothing.
        audit: takes note of the outcome.
        recorded: the metadata of the table's last commit.
        session: returns the session; called only if they are asked.
        model_loader: the settled loader.
        slots: the device policy.
        batch_size: rows per forward pass, instead of the task's.

    Raises:
        AuditFailedError: the answers are wrong, and that was not overruled.
        ModelError, InputSchemaError, HookError, DeviceError: the task cannot run on the canaries, or not on the workers.
    """
    if canaries is None:
        return
    task = canaries.task
    if recorded.get(CANARIES_KEY) == canaries.key:
        audit.recorded[CANARIES_KEY] = canaries.key
        return
    spark = session()
    job = _CanaryJob(
        task=task,
        model_loader=model_loader,
        slots=slots,
        batch_size=batch_size,
        files_digest=files_digest(task, model_loader.models_root),
        code=model_loader.code(task),
        rows=canaries.rows,
    )
    outcome = compare_answers(task, canaries.expected, _predicted(spark, job))
    _LOG.info(
        "task %r: %s",
        task.name,
        outcome.problem or f"the model answers {canaries.expected.num_rows} canaries as expected",
    )
    audit.canaries_answered(outcome, canaries.key)


def _read(path: Path, where: str) -> pa.Table:
    check_file(path)
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ModelError(f"{where} cannot be read as a Parquet file: {error}") from error


def _predicted(spark: "SparkSession", job: _CanaryJob) -> pa.Table:
    profile = share_profile(spark, find_slots(spark, job.slots).share, 1)
    try:
        with workers_for(spark, job.code) as pool:
            function = with_code(spark, _bind(job), job.code, pool)
            asked = spark.range(0, 1, 1, 1).mapInArrow(function, RESULT_SCHEMA, profile=profile)
        (row,) = run_stoppable(spark, asked.collect)
    except Exception as error:
        if found := find_marked(str(error)):
            raise found[0] from found[1]
        reason = f"task {job.task.name!r}, predicting the canaries: {reason_of(error)}"
        raise (explain_worker_failure(error) or own_error(str(error)) or SparktorchError(reason)) from error
    with pa.ipc.open_stream(base64.b64decode(row["result"])) as stream:
        return stream.read_all()


def _bind(job: _CanaryJob) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that `mapInArrow` calls with a single row, in place of which it returns the predictions as text."""

    def predict(numbers: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in numbers:
            for _ in range(batch.num_rows):
                try:
                    yield pa.RecordBatch.from_pydict({"result": [_predict(job)]})
                except BaseException as error:  # noqa: BLE001  (including an exit, and a panic of a Rust library)
                    raise marked(error, f"task {job.task.name!r}, predicting the canaries") from None

    return predict


def _predict(job: _CanaryJob) -> str:
    from sparktorch_assets.predict.local import LocalPredictor
    from sparktorch_assets.predict.partition import predict_batches

    job.storage.use()
    check_code(job.code)
    loader, files = job.model_loader.with_planned_files(job.task, job.files_digest)
    predictor = LocalPredictor(
        job.task,
        job.batch_size,
        model_loader=loader,
        slots=job.slots,
        gpu_addresses=task_place()[1],
        waits_for_gpu=True,
    )
    with closing(predictor):
        check_code(job.code)
        schema = output_schema(job.task, job.rows.schema)
        predicted = pa.Table.from_batches(predict_batches([job.rows], predictor=predictor, schema=schema), schema)
        files.check()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_table(predicted)
    return base64.b64encode(sink.getvalue()).decode()

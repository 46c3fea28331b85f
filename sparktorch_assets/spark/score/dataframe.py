"""`score_dataframe`: predictions of a DataFrame (JDBC, a view, a join) become a prediction table, in one Delta commit.

It is for sources without files that workers could read themselves. A DataFrame has nothing to fingerprint, so every run
computes all of it and replaces the whole table. If there are files, `score_table` is exact, resumable and faster.
Parts are named by their own content: a run that produces the same rows in the same files writes no version.
"""

import json
import logging
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa

from sparktorch_assets.audit.task_audit import TaskAudit
from sparktorch_assets.errors import SparktorchError, TaskError
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.log.commit import commit_parts
from sparktorch_assets.lake.log.snapshot import data_version_of, same_columns
from sparktorch_assets.lake.parquet.types import storage_schema
from sparktorch_assets.lake.partitioning import check_partitioning
from sparktorch_assets.lake.parts.staging import staging_folder
from sparktorch_assets.lake.plan import check_ours
from sparktorch_assets.lake.publication import Audit, Publication, Published, published_metadata
from sparktorch_assets.lake.table import Table
from sparktorch_assets.lake.table_tally import DATA_VERSION_KEY, TALLY_KEY
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.rows_in_store import write_to_store
from sparktorch_assets.spark.score.commit import check_publication, commit_metadata
from sparktorch_assets.spark.score.input_count import InputCount
from sparktorch_assets.spark.score.job.canaries import ask_canaries, find_canaries
from sparktorch_assets.spark.score.report.report import ScoreReport
from sparktorch_assets.spark.score.report.scoring import Scoring
from sparktorch_assets.spark.score.written_rows import WrittenPart, publish_parts, read_written
from sparktorch_assets.spark.session.stoppable import run_stoppable
from sparktorch_assets.spark.worker_errors import own_error, reason_of
from sparktorch_assets.spark.written_count import WrittenCount
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import MlTask, SlotPolicy
from sparktorch_assets.tasks.digest import model_digest
from sparktorch_assets.tasks.files.model_files import FilesInUse
from sparktorch_assets.tasks.slot_policy import settle_device

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_LOG = logging.getLogger(__name__)

_WHILE_WRITING = {
    # Spark's default, INT96, has no statistics, and no time zone that other readers agree on.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # LEGACY would shift dates before 1582 by days, and writeLegacyFormat gives lists names that Delta does not know.
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.writeLegacyFormat": "false",
}
"""Settings that affect the values of written rows. How rows are read is up to the DataFrame."""
_WRITE_OPTIONS = {"compression": "snappy", "parquet.page.write-checksum.enabled": "true"}


def score_dataframe(
    spark_session: "SparkSession",
    dataframe: "DataFrame",
    ml_task: MlTask | str,
    *,
    output_table: str,
    model_loader: ModelLoader,
    parallel: int | None = None,
    slots: SlotPolicy | None = None,
    batch_size: int | None = None,
    run_id: str = "",
    audit: Audit | None = None,
    publish_despite: Collection[str] = (),
) -> ScoreReport:
    """Replace a prediction table by the predictions of a DataFrame. The model sees each row once.

    Args:
        spark_session: the DataFrame's session, classic or Connect.
        dataframe: the rows to predict.
        ml_task: what to do with each row, or the name of a task that `model_loader` knows.
        output_table: path or URI of the prediction table's folder; created if it does not exist. Workers write to it.
        model_loader: brings the model up on the workers.
        parallel: partitions to predict in; see `spark_ml_predict`.
        slots: the number of model instances that work at once, and their device; by default on GPUs if there are any,
            else on the cores.
        batch_size: rows per forward pass, instead of the task's; `None` takes the task's.
        run_id: recorded in the commit.
        audit: called before the commit with what it would publish, if that is within the task's limits; an error that
            it raises refuses the commit.
        publish_despite: names of checks of the task's `audit`, or of its output, that may fail this time. The commit
            records which did.

    Returns:
        The report, with `path="spark_ml_predict"`. Its counts are read from the written parts, and its input rows are
        counted by Spark on the way; devices and seconds inside the workers are not known.

    Raises:
        InputSchemaError, ModelError, HookError, DeviceError: the task cannot run on these rows, or not on the workers.
        TableError: the output contains files of another writer, or the numbers of rows do not add up.
        TooManyFailedRowsError, TooManyDroppedRowsError: more rows failed, or hooks dropped more, than the task allows.
            The table stays as it was, and the predictions are lost, because the same DataFrame may have other rows
            another time.
        AuditFailedError: a check of the task's `audit`, or of its output, failed. The same applies.
        CommitConflictError: another run has changed the table.
    """
    from sparktorch_assets.spark.ml_predict import spark_ml_predict
    from sparktorch_assets.spark.session.slot_count import find_slots

    started = time.perf_counter()
    policy = settle_device(slots, model_loader.device)
    model_loader, task = model_loader.settled(ml_task)
    if dataframe.isStreaming:
        raise TaskError(f"task {task.name!r}: a streaming DataFrame never ends; predict it with spark_ml_predict")
    if task.truth is not None and task.truth not in task.kept_columns(dataframe.columns):
        raise TaskError(
            f"task {task.name!r}: truth={task.truth!r} is no kept column, and the counts of a DataFrame's predictions are "
            f"read from the written table; add it to keep_columns"
        )
    task_audit = TaskAudit(task, publish_despite, kept=False)
    table = Table(output_table)
    check_ours(table)
    check_partitioning(table, ())
    files = FilesInUse(task, model_loader.models_root)
    digest = model_digest(task, model_loader.models_root)
    task_audit.begin(digest)
    ask_canaries(
        find_canaries(task, model_loader, digest),
        task_audit,
        table.metadata,
        lambda: spark_session,
        model_loader=model_loader,
        slots=policy,
        batch_size=batch_size,
    )
    found_slots = find_slots(spark_session, policy)
    _LOG.info("task %r: %s", task.name, found_slots)
    counted = InputCount(task, dataframe)
    predicted = spark_ml_predict(
        spark_session, counted.dataframe, task, parallel, batch_size, model_loader=model_loader, slots=policy
    )
    schema = _delta_schema(predicted)
    folder, snapshot = table.folder, table.snapshot
    planned = time.perf_counter()
    with staging_folder(folder) as staging:
        with _writing(spark_session, task):
            writing = WrittenCount(predicted)
            staged = _write(spark_session, writing.dataframe, folder, f"{staging}/rows", schema)
        written = read_written(folder, staged, task)
        found = Tally.total(part.tally for part in written)
        writing.check(found.rows, f"task {task.name!r}", folder.absolute)
        tally = counted.account(found)
        publication = Publication(
            table=table,
            partition=(),
            schema=schema,
            tally=tally,
            rows_in=tally.filtered + tally.rows,
            parts={part.staged.path: part.tally for part in written},
        )
        check_publication(task, publication, task_audit, audit, kept=False)
        files.check()
        scored = time.perf_counter()
        scoring = Scoring(
            rows=tally.filtered + tally.rows,
            seconds={"plan": planned - started, "session": 0.0, "score": scored - planned},
            slots=found_slots.slots,
            run_id=run_id,
        )
        metadata = commit_metadata(task, digest, run_id, scoring) | task_audit.recorded
        version, changed = _commit(task, table, schema, written, tally, metadata)
    done = time.perf_counter()
    target = {part.path for part in written}
    return ScoreReport(
        task=task.name,
        table=output_table,
        version=version,
        changed=changed,
        shards_new=len(target - snapshot.parts.keys()),
        shards_unchanged=len(target & snapshot.parts.keys()),
        shards_removed=len(snapshot.parts.keys() - target),
        shards_resumed=0,
        rows_in=tally.filtered + tally.rows,
        rows_table=tally.predicted + tally.failed,
        rows_new=tally.filtered + tally.rows,
        tally=tally,
        run_tally=tally,
        seconds={
            "plan": planned - started,
            "session": 0.0,
            "score": scored - planned,
            "commit": done - scored,
            "total": done - started,
        },
        slots=found_slots.slots,
        scoring=scoring,
        model_digest=digest,
        data_version=data_version_of(target, schema),
        path="spark_ml_predict",
        audits=task_audit.found.get("", ()),
    )


def _commit(
    task: MlTask,
    table: Table,
    schema: pa.Schema,
    written: list[WrittenPart],
    tally: Tally,
    metadata: Mapping[str, str],
) -> tuple[int, bool]:
    target, snapshot = {part.path for part in written}, table.snapshot
    there = snapshot.parts.keys() - table.lost_parts()
    published = publish_parts(table.folder, [part for part in written if part.path not in there])
    known = snapshot.parts
    new = [part for part in published if part.path not in known or part.size_bytes != known[part.path].size_bytes]
    gone = sorted(snapshot.parts.keys() - target)
    if snapshot.version is not None and not new and not gone and same_columns(snapshot.schema, schema):
        return snapshot.version, False
    version = data_version_of(target, schema)
    recorded = {
        **metadata,
        **published_metadata([Published(partition=(), tally=tally, data_version=version)]),
        TALLY_KEY: json.dumps(tally.to_plain()),
        DATA_VERSION_KEY: version,
    }
    committed = commit_parts(
        table.uri,
        schema,
        add=new,
        remove=gone,
        metadata=recorded,
        read_version=snapshot.version,
        description=task.description,
    )
    return committed, True


def _write(spark: "SparkSession", predicted: "DataFrame", folder: Folder, path: str, schema: pa.Schema) -> list[str]:
    """Write the rows into a new folder, and return the paths of the files, relative to the table's folder."""
    if not folder.is_local:
        return write_to_store(spark, predicted, folder, path, schema)
    write = predicted.write.options(**_WRITE_OPTIONS)
    run_stoppable(spark, lambda: write.parquet(f"file://{folder.full(path)}"))
    return sorted(entry.path for entry in folder.files(path) if entry.path.endswith(".parquet"))


def _delta_schema(predicted: "DataFrame") -> pa.Schema:
    from pyspark.sql.pandas.types import to_arrow_schema

    return storage_schema(to_arrow_schema(predicted.schema, timezone="UTC"))


@contextmanager
def _writing(spark: "SparkSession", task: MlTask) -> Iterator[None]:
    """Apply our settings during the write, and raise a worker's error with its own type."""
    from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
    from pyspark.errors import PySparkException

    from sparktorch_assets.spark.session.settings import session_settings
    from sparktorch_assets.spark.session.worker_memory import explain_memory
    from sparktorch_assets.spark.session.worker_python import explain_worker_failure

    try:
        with session_settings(spark, _WHILE_WRITING):
            yield
    except (PySparkException, Py4JJavaError) as error:
        known = (
            explain_worker_failure(error)
            or own_error(str(error))
            or explain_memory(spark, f"task {task.name!r}: {reason_of(error)}")
        )
        if known is not None:
            raise known from error
        raise SparktorchError(
            f"task {task.name!r}: the Spark job failed: {reason_of(error)}. Nothing was committed"
        ) from error

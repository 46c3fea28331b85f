"""`score_table`: brings a prediction table up to date with its input table; exact, resumable and incremental.

Spark only distributes shards: workers read and write Parquet themselves, and the driver commits once. Parts that are
already in the table, or finished in its folder, are not computed again. With nothing to do, no session is started.
"""

import logging
import os
import time
from collections import ChainMap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, cast

import pyarrow as pa

from sparktorch_assets.audit.task_audit import TaskAudit, recorded_outcomes
from sparktorch_assets.errors import AuditOutcome, TaskError
from sparktorch_assets.lake.adoption import adopt_parts
from sparktorch_assets.lake.commit_plan import Committed, commit_plan, keep_resumed, tally_now
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.files.partition_values import parse_partition, partition_folder
from sparktorch_assets.lake.log.snapshot import data_version_of
from sparktorch_assets.lake.parquet.types import readable_schema, storage_schema
from sparktorch_assets.lake.plan import Plan, make_plan
from sparktorch_assets.lake.publication import Audit
from sparktorch_assets.lake.table import Table
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.schema import output_schema
from sparktorch_assets.spark.score.canaries import ask_canaries, find_canaries
from sparktorch_assets.spark.score.commit import check_publication, commit_metadata
from sparktorch_assets.spark.score.progress import ProgressWatch
from sparktorch_assets.spark.score.report import Progress, ScoreReport
from sparktorch_assets.spark.score.run import RunResult, run_shards
from sparktorch_assets.spark.score.scoring import Scoring, last_scoring
from sparktorch_assets.spark.score.worker import ScoreJob
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import MlTask, SlotPolicy
from sparktorch_assets.tasks.code.imported_code import DECLARED
from sparktorch_assets.tasks.digest import digest_of, files_digest, model_digest, task_digest
from sparktorch_assets.tasks.row_test import row_tests
from sparktorch_assets.tasks.slot_policy import settle_device

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["Progress", "ScoreReport", "plan_table", "score_table"]

_LOG = logging.getLogger(__name__)


def score_table(
    spark_session: "Callable[[], SparkSession] | SparkSession",
    input_table: str,
    ml_task: MlTask | str,
    *,
    output_table: str,
    model_loader: ModelLoader,
    slots: SlotPolicy | None = None,
    batch_size: int | None = None,
    run_id: str = "",
    on_progress: Callable[[Progress], None] | None = None,
    partition: Mapping[str, str] | None = None,
    adopt_from: Sequence[str] = (),
    audit: Audit | None = None,
    publish_despite: Collection[str] = (),
) -> ScoreReport:
    """Bring a prediction table, or one partition of it, up to date with its input, its model and its task.

    Args:
        spark_session: a session, classic or Connect, or a callable that returns one, which is called only if there are
            rows to score.
        input_table: path or URI of a Delta table, a folder of Parquet files, or one file. Workers read it directly.
        ml_task: what to do with each row, or the name of a task that `model_loader` knows.
        output_table: path or URI of the prediction table's folder; created if it does not exist.
        model_loader: brings the model up on the workers, where its `models_root` must be the same path, or a URI.
        slots: the number of model instances that work at once, and their device; by default on GPUs if there are any,
            else on the cores.
        batch_size: rows per forward pass, instead of the task's; `None` takes the task's.
        run_id: recorded in the commit.
        on_progress: called about every two seconds, from another thread; `None` draws a progress bar if stderr is a
            terminal.
        partition: `{"ds": "2013-01-01"}` scores the input's rows with that value, as that partition of a table
            partitioned by `ds`; everything else in the table stays as it is. The report then covers only the partition.
        adopt_from: paths or URIs of other prediction tables, such as a challenger's. A part that is finished there, and
            that this table would hold under the same name, is copied instead of scored.
        audit: called before the commit with what it would publish, if that is within the task's limits; an error that
            it raises refuses the commit, and the finished parts stay in the table's folder.
        publish_despite: names of checks of the task's `audit`, or of its output, that may fail this time. The commit
            records which did.

    Raises:
        TaskError: a hook is a function object; the class or state of `model_loader` cannot be compared between runs; or
            `slots` and `model_loader` name different devices.
        TableError: the input cannot be read, or the output contains files of another writer or has other partitions.
        InputSchemaError, ModelError, HookError, DeviceError: the task cannot run on this input, or not on the workers.
        TooManyFailedRowsError, TooManyDroppedRowsError: more rows failed, or hooks dropped more, than the task allows.
            The finished parts stay in the table's folder: with a higher limit, the next run commits them unchanged.
        AuditFailedError: a check of the task's `audit`, or of its output, failed. Unless it is one of the model, which is
            looked at before anything is scored, the finished parts stay in the table's folder.
        CommitConflictError: another run has refreshed the table to something else.
        DiskFullError: a part could not be written.
    """
    started = time.perf_counter()
    policy = settle_device(slots, model_loader.device)
    model_loader, task = model_loader.settled(ml_task)
    task_audit = TaskAudit(task, publish_despite)
    planned = _plan(task, input_table, output_table, model_loader, partition)
    if adopt_parts(planned.plan, adopt_from):
        planned = _plan(task, input_table, output_table, model_loader, partition)
    plan, task, digest = planned.plan, planned.task, planned.model_digest
    decided = ready = time.perf_counter()
    seconds = {"plan": decided - started, "session": 0.0, "score": 0.0, "commit": 0.0}
    if not plan.changes:
        seconds["total"] = time.perf_counter() - started
        _LOG.info("%s", plan)
        return _report(
            task,
            plan,
            digest,
            seconds,
            tally=tally_now(plan, plan.table),
            scoring=last_scoring(plan.table),
            audits=recorded_outcomes(plan.table.metadata, partition_folder(plan.partition)),
        )
    task_audit.begin(digest)
    canaries = find_canaries(task, model_loader, digest)
    keep_resumed(plan)
    _warn_of_another_task(task, plan)
    run, used_slots, balance = RunResult(), 0, None
    session = cache(lambda: _checked(spark_session))
    ask_canaries(
        canaries,
        task_audit,
        plan.table.metadata,
        session,
        model_loader=model_loader,
        slots=policy,
        batch_size=batch_size,
    )
    if plan.new:
        from sparktorch_assets.spark.session.slot_count import find_slots

        spark = session()
        ready = time.perf_counter()
        found_slots = find_slots(spark, policy)
        _LOG.info("task %r: %s", task.name, found_slots)
        plan.table.folder.create()
        job = ScoreJob(
            task=task,
            model_loader=model_loader,
            slots=policy,
            batch_size=batch_size,
            concurrent_slots=found_slots.on_a_worker,
            output_table=plan.table.folder.absolute,
            read_schema=planned.read_schema,
            schema=plan.part_schema,
            files_digest=planned.files_digest,
            code=planned.code,
            packs=(),
            partition=plan.partition,
        )
        with ProgressWatch(plan, on_progress):
            run = run_shards(spark, job, plan.new, found_slots.to_deal_for)
        used_slots, balance = found_slots.slots, run.balance(found_slots.all_at_work)
    scored = time.perf_counter()
    parts = {**plan.resumed, **run.parts}
    seconds |= {"session": ready - decided, "score": scored - ready}
    run_tally = Tally.total(receipt.tally for _, receipt in run.parts.values())
    scoring = None
    if run.parts:
        scoring = Scoring(
            rows=sum(shard.rows for shard in plan.new),
            seconds={phase: seconds[phase] for phase in ("plan", "session", "score")},
            worker_seconds=run_tally.seconds,
            devices=tuple(sorted(run_tally.devices)),
            slots=used_slots,
            balance=balance,
            run_id=run_id,
        )
    scoring = scoring or last_scoring(plan.table)
    committed = commit_plan(
        plan,
        parts,
        lambda publication: check_publication(task, publication, task_audit, audit, kept=True),
        # A view: what the checks find is known when they have looked at what would be committed.
        ChainMap(task_audit.recorded, commit_metadata(task, digest, run_id, scoring)),
        description=task.description,
    )
    done = time.perf_counter()
    seconds |= {"commit": done - scored, "total": done - started}
    return _report(
        task,
        plan,
        digest,
        seconds,
        tally=committed.tally,
        run_tally=run_tally,
        committed=committed,
        slots=used_slots,
        balance=balance,
        scoring=scoring,
        audits=task_audit.found.get(partition_folder(plan.partition), ()),
    )


def _checked(spark_session: "Callable[[], SparkSession] | SparkSession") -> "SparkSession":
    """The session, whose workers run a Python that fits."""
    from sparktorch_assets.spark.session.worker_python import check_session_python

    session = spark_session() if callable(spark_session) else spark_session
    check_session_python(session)
    return session


def plan_table(
    input_table: str,
    ml_task: MlTask | str,
    *,
    output_table: str,
    model_loader: ModelLoader,
    partition: Mapping[str, str] | None = None,
) -> Plan:
    """The plan that `score_table` would carry out with the same arguments; print it for a summary. Nothing is computed
    or written."""
    model_loader, task = model_loader.settled(ml_task)
    return _plan(task, input_table, output_table, model_loader, partition).plan


@dataclass(frozen=True, kw_only=True, slots=True)
class _Planned:
    """A planned refresh, with everything that the plan depends on."""

    plan: Plan
    task: MlTask
    """The task, restricted to the partition's rows."""
    model_digest: str
    files_digest: str
    """Digest of the model's files."""
    code: Mapping[str, str]
    """The user's code: piece -> digest."""
    read_schema: pa.Schema
    """The columns to read."""


def _plan(
    task: MlTask, input_table: str, output_table: str, loader: ModelLoader, given: Mapping[str, str] | None
) -> _Planned:
    source, output = Table(input_table), Table(output_table)
    if source.folder.absolute == output.folder.absolute:
        raise TaskError(
            f"task {task.name!r}: input and output are the same table, {output_table!r}; give it another output"
        )
    if source.version is None and _lies_in(output.folder, source.folder):
        raise TaskError(
            f"task {task.name!r}: the output {output_table!r} lies in the folder of files {input_table!r} that is the input, "
            f"so that the next refresh would find predictions among its rows; give it a folder elsewhere"
        )
    columns = readable_schema(source.schema)
    partition, where = parse_partition(given, columns)
    schema = storage_schema(output_schema(task, columns))
    for name, _ in partition:
        if name not in schema.names:  # readers take it from the parts' paths, whatever columns the task keeps
            schema = schema.append(columns.field(name))
    digest, files = model_digest(task, loader.models_root), files_digest(task, loader.models_root)
    # Workers must use exactly these files and pieces of code, so the fingerprints contain both as they were read here.
    code = loader.code(task)
    plan = make_plan(
        source,
        output,
        schema=schema,
        digest=digest_of(
            {
                "model": digest,
                "task": task_digest(task),
                "loader": loader.digest(task),
                "files": files,
                "code": {piece: found for piece, found in code.items() if not piece.endswith(DECLARED)},
                # Sorted: the order of columns depends on which of the input's files comes first, and affects no row.
                "schema": sorted([column.name, str(column.type)] for column in schema),
                **({"partition": partition} if partition else {}),
            }
        ),
        partition=partition,
        tests=row_tests(where, {column.name: str(column.type) for column in columns}, f"task {task.name!r}"),
    )
    task = replace(task, where=(*task.where, *where))
    return _Planned(
        plan=plan,
        task=task,
        model_digest=digest,
        files_digest=files,
        code=code,
        read_schema=pa.schema([columns.field(name) for name in task.read_columns(columns.names)]),
    )


def _warn_of_another_task(task: MlTask, plan: Plan) -> None:
    """Warn if another task made the table: two tasks with one output would replace each other's rows in every run."""
    if not plan.obsolete:
        return
    made_by = plan.table.metadata.get("task", task.name)
    if made_by != task.name:
        _LOG.warning(
            "%s was last made by task %r, and task %r replaces %d of its parts now; give each task a table of its own",
            plan.table.uri,
            made_by,
            task.name,
            len(plan.obsolete),
        )


def _lies_in(one: Folder, other: Folder) -> bool:
    paths = [os.path.realpath(folder.root) if folder.is_local else folder.absolute for folder in (one, other)]
    return one.is_local == other.is_local and paths[0].startswith(paths[1].rstrip("/") + "/")


def _report(
    task: MlTask,
    plan: Plan,
    digest: str,
    seconds: dict[str, float],
    *,
    tally: Tally,
    run_tally: Tally | None = None,
    committed: Committed | None = None,
    slots: int = 0,
    balance: float | None = None,
    scoring: Scoring | None = None,
    audits: tuple[AuditOutcome, ...] = (),
) -> ScoreReport:
    version = plan.snapshot.version if committed is None else committed.version
    return ScoreReport(
        task=task.name,
        table=plan.table.uri,
        version=cast(int, version),
        changed=committed is not None and committed.changed,
        shards_new=len(plan.new),
        shards_unchanged=len(plan.unchanged),
        shards_removed=len(plan.obsolete),
        shards_resumed=len(plan.resumable),
        rows_in=plan.rows,
        rows_table=tally.predicted + tally.failed,
        rows_new=sum(shard.rows for shard in plan.new),
        tally=tally,
        run_tally=run_tally or Tally(),
        seconds=seconds,
        slots=slots,
        balance=balance,
        scoring=scoring,
        model_digest=digest,
        data_version=data_version_of(plan.target, plan.schema),
        partition=plan.partition,
        audits=audits,
    )

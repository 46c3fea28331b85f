"""`score_table`: brings a prediction table up to date with its input table; exact, resumable and incremental.

Spark only distributes shards: workers read and write Parquet themselves, and the driver commits once. Parts that are
already in the table, or finished in its folder, are not computed again. With nothing to do, no session is started.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sparktorch_assets.lake.plan import Plan
from sparktorch_assets.lake.publication import Audit
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score.plan.adopted import plan_adopted
from sparktorch_assets.spark.score.plan.planned import plan_refresh, selections
from sparktorch_assets.spark.score.refresh import refresh
from sparktorch_assets.spark.score.report.report import Progress, ScoreReport
from sparktorch_assets.spark.score.run_options import RunOptions
from sparktorch_assets.tasks import MlTask, SlotPolicy
from sparktorch_assets.tasks.slot_policy import settle_device

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["Progress", "ScoreReport", "plan_table", "score_table"]


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
    audit: Audit | None = None,
    publish_despite: Collection[str] = (),
    adopt_from: Sequence[str] = (),
    rescore: str = "",
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
        audit: called before the commit with what it would publish, if that is within the task's limits; an error that
            it raises refuses the commit, and the finished parts stay in the table's folder.
        publish_despite: names of checks of the task's `audit`, or of its output, that may fail this time. The commit
            records which did.
        adopt_from: paths or URIs of other prediction tables, such as a challenger's. A part that is finished there, and
            that this table would hold under the same name, is copied instead of scored.
        rescore: a name for the request to score every row again, such as a run's id, although nothing has changed that
            fingerprints know of. A call with the same name goes on where an interrupted one ended.

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
    options = RunOptions(
        slots=settle_device(slots, model_loader.device),
        batch_size=batch_size,
        run_id=run_id,
        on_progress=on_progress,
        audit=audit,
        publish_despite=publish_despite,
    )
    plan = partial(
        plan_refresh,
        input_table,
        ml_task,
        partial(selections, [partition or {}]),
        output_table=output_table,
        model_loader=model_loader,
        rescore=rescore,
        adopt_from=adopt_from,
    )
    planned = plan_adopted(plan, adopt_from)
    refreshed = refresh(spark_session, planned, options, started)
    for refused in refreshed.refused.values():
        raise refused
    (report,) = refreshed.reports.values()
    return report


def plan_table(
    input_table: str,
    ml_task: MlTask | str,
    *,
    output_table: str,
    model_loader: ModelLoader,
    partition: Mapping[str, str] | None = None,
    rescore: str = "",
) -> Plan:
    """The plan that `score_table` would carry out with the same arguments; print it for a summary. Nothing is computed
    or written."""
    planned = plan_refresh(
        input_table,
        ml_task,
        partial(selections, [partition or {}]),
        output_table=output_table,
        model_loader=model_loader,
        rescore=rescore,
    )
    return planned.plans[0]

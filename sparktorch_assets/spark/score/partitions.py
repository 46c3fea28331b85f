"""`score_partitions`: brings partitions of a prediction table up to date, all in one Spark job and one commit."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from sparktorch_assets.errors import PartitionsRefusedError, SparktorchError, TaskError, nearest
from sparktorch_assets.lake.files.partition_values import parse_partition
from sparktorch_assets.lake.plan import Plan
from sparktorch_assets.lake.publication import Audit
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score.plan.adopted import plan_adopted
from sparktorch_assets.spark.score.plan.planned import Planned, Selection, plan_refresh
from sparktorch_assets.spark.score.refresh import refresh
from sparktorch_assets.spark.score.report.report import Progress, ScoreReport
from sparktorch_assets.spark.score.run_options import RunOptions
from sparktorch_assets.tasks import MlTask, SlotPolicy
from sparktorch_assets.tasks.partitions.table_partition import TablePartition
from sparktorch_assets.tasks.slot_policy import settle_device

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_REASONS_SHOWN = 3
"""Number of refused partitions whose reasons the error's message quotes."""


def score_partitions(
    spark_session: "Callable[[], SparkSession] | SparkSession",
    input_table: str,
    ml_task: MlTask | str,
    *,
    output_table: str,
    model_loader: ModelLoader,
    partitions: Sequence[TablePartition],
    slots: SlotPolicy | None = None,
    batch_size: int | None = None,
    run_id: str = "",
    on_progress: Callable[[Progress], None] | None = None,
    audit: Audit | None = None,
    publish_despite: Collection[str] = (),
    adopt_from: Sequence[str] = (),
    rescore: str = "",
) -> tuple[ScoreReport, ...]:
    """Bring partitions of a prediction table up to date with the input, the model and the task; everything else in the
    table stays as it is.

    Everything is planned together, one Spark job scores what is new, and one commit publishes all partitions that pass
    the task's limits and the audit. A partition that does not pass stays as it was, and holds back no other one; its
    finished parts stay in the table's folder.

    Args:
        spark_session: see `score_table`.
        input_table: see `score_table`.
        ml_task: see `score_table`.
        output_table: see `score_table`.
        model_loader: see `score_table`.
        partitions: the partitions, all by the same column: a column of the input, which has the partition's value in
            its rows, or another name, which is added to the predictions as a column of strings.
        slots: see `score_table`.
        batch_size: see `score_table`.
        run_id: see `score_table`.
        on_progress: see `score_table`; it reports the rows of all partitions together.
        audit: called before the commit, once for each partition that changes; see `score_table`.
        publish_despite: see `score_table`.
        adopt_from: see `score_table`.
        rescore: see `score_table`; of these partitions alone.

    Returns:
        One report per partition, in the same order.

    Raises:
        PartitionsRefusedError: some partitions were refused: `TooManyFailedRowsError`, `TooManyDroppedRowsError`,
            `AuditFailedError`, what `audit` raised, or `CommitConflictError`. The others are published.
        SparktorchError: as for `score_table`; nothing was published.
    """
    if not partitions:
        return ()
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
        partial(_selections, partitions),
        output_table=output_table,
        model_loader=model_loader,
        rescore=rescore,
        adopt_from=adopt_from,
    )
    planned = plan_adopted(plan, adopt_from)
    keys = _keys(partitions, planned)
    refreshed = refresh(spark_session, planned, options, started)
    published = tuple(
        refreshed.reports[plan.partition] for plan in planned.plans if plan.partition in refreshed.reports
    )
    if refreshed.refused:
        refused = {
            key: refreshed.refused[plan.partition] for key, plan in keys.items() if plan.partition in refreshed.refused
        }
        raise PartitionsRefusedError(_message(planned, refused), refused=refused, published=published)
    return published


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionsPlan:
    """A planned refresh of partitions; printing it gives one line for each partition that changes."""

    plans: Mapping[str, Plan] = field(repr=False)
    """Partition key -> the plan of that partition."""

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return any(plan.changes for plan in self.plans.values())

    def __str__(self) -> str:
        changing = {key: plan for key, plan in self.plans.items() if plan.changes}
        some = next(iter(self.plans.values()))
        counts = f"{len(changing):,} of {len(self.plans):,} partitions to be refreshed"
        return "\n".join([f"{some.table.uri}: {counts}", *(_line(key, plan) for key, plan in changing.items())])


def plan_partitions(
    input_table: str,
    ml_task: MlTask | str,
    *,
    output_table: str,
    model_loader: ModelLoader,
    partitions: Sequence[TablePartition],
    rescore: str = "",
) -> PartitionsPlan:
    """The plan that `score_partitions` would carry out with the same arguments; print it for a summary. Nothing is
    computed or written.

    Raises:
        TaskError: there are no partitions, or two of them are the same.
    """
    if not partitions:
        raise TaskError("plan_partitions: partitions is empty; name at least one partition")
    planned = plan_refresh(
        input_table,
        ml_task,
        partial(_selections, partitions),
        output_table=output_table,
        model_loader=model_loader,
        rescore=rescore,
    )
    return PartitionsPlan(plans=_keys(partitions, planned))


def _keys(partitions: Sequence[TablePartition], planned: Planned) -> dict[str, Plan]:
    return {partition.key: plan for partition, plan in zip(partitions, planned.plans, strict=True)}


def _selections(partitions: Sequence[TablePartition], columns: pa.Schema) -> list[Selection]:
    """The rows that each partition takes from an input with these columns.

    Raises:
        TaskError: the partitions are not all different, or not all by the same column.
        InputSchemaError, TaskError: see `parse_partition`.
    """
    by = sorted({partition.column for partition in partitions})
    if len(by) > 1:
        raise TaskError(f"partitions are by different columns: {', '.join(by)}; a table is partitioned by one of them")
    (column,) = by
    added = column not in columns.names
    types = pa.schema([(column, pa.string())]) if added else columns
    found: dict[object, Selection] = {}
    for given in partitions:
        partition, where = parse_partition({column: given.value}, types)
        if added and not given.where:
            raise TaskError(
                f"partition {given.key!r}: the input has no column {column!r}, and `where` selects no rows; give it "
                f"conditions, or a column of the input ({nearest(column, columns.names)})"
            )
        if partition in found:
            raise TaskError(f"two partitions are the same one: {column}={given.value!r} (key {given.key!r})")
        found[partition] = Selection(partition=partition, where=given.where if added else where, added=added)
    return list(found.values())


def _message(planned: Planned, refused: Mapping[str, SparktorchError]) -> str:
    count = len(planned.plans)
    reasons = [f"{key}: {error}" for key, error in list(refused.items())[:_REASONS_SHOWN]]
    more = len(refused) - len(reasons)
    others = "The other ones are published" if len(refused) < count else "Nothing was published"
    return (
        f"task {planned.task.name!r}: {len(refused):,} of {count:,} partitions of {planned.table.uri!r} were refused and "
        f"stay as they were; their finished parts are kept. {others}. " + "\n".join(reasons)
    ) + (f"\nand {more:,} more: {', '.join(list(refused)[_REASONS_SHOWN:])}" if more else "")


def _line(key: str, plan: Plan) -> str:
    rows = sum(shard.rows for shard in plan.new)
    return (
        f"  {key}: {len(plan.new):,} new shards in {rows:,} rows, {len(plan.resumable):,} resumable, "
        f"{len(plan.unchanged):,} unchanged, {len(plan.obsolete):,} obsolete parts"
    )

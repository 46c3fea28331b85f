"""Scores a refresh's new shards: in one Spark job or, if the first one finds that its shards take too long, in a second one
over smaller shards."""

import logging
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sparktorch_assets.lake.commit_plan import Parts, keep_resumed
from sparktorch_assets.lake.files.write_failure import write_failure
from sparktorch_assets.lake.plan import Plan
from sparktorch_assets.lake.shards import Shard
from sparktorch_assets.spark.score.job.finished_parts import FinishedParts
from sparktorch_assets.spark.score.job.row_cost import CostQuestion, RowCost
from sparktorch_assets.spark.score.job.run import RunResult, run_shards
from sparktorch_assets.spark.score.job.worker import ScoreJob
from sparktorch_assets.spark.score.plan.planned import Planned
from sparktorch_assets.spark.score.progress.progress import ProgressWatch
from sparktorch_assets.spark.score.report.scoring import Scoring
from sparktorch_assets.spark.score.run_options import RunOptions
from sparktorch_assets.spark.session.slot_count import SlotCount, find_slots
from sparktorch_assets.tally import Tally

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """The outcome of the scoring."""

    planned: Planned
    """The refresh as it was carried out, which may be cut into other shards than were planned."""
    parts: FinishedParts
    """Those of the new shards."""
    scoring: Scoring


def score_shards(
    session: "Callable[[], SparkSession]", planned: Planned, options: RunOptions, seconds: Mapping[str, float]
) -> Scored:
    """Score the new shards of the plans.

    Args:
        session: returns the session.
        planned: the refresh.
        options: how it is carried out.
        seconds: those that planning took, and waiting for the session until now.
    """
    asked = time.perf_counter()
    spark = session()
    ready = time.perf_counter()
    slots = find_slots(spark, options.slots)
    _LOG.info("task %r: %s", planned.task.name, slots)
    try:
        planned.table.folder.create()
    except OSError as error:
        raise write_failure(planned.table.folder, "", error) from error
    with ProgressWatch(planned.plans, options.on_progress) as watch:
        result = _run(spark, planned, options, slots, question=_question(planned, options))
        if result.row_costs:
            finished = result.parts
            planned = _cut_anew(planned, result.row_costs, options, finished)
            watch.watch(planned.plans)
            result = _run(spark, planned, options, slots, finished=finished)
    idle = _idle_slots(planned, options, result, slots)
    if idle:
        _LOG.warning("%s", idle)
    tally = Tally.total(result.parts.tallies.values())
    scoring = Scoring(
        rows=sum(shard.rows for shard in _new(planned)) - tally.outside,
        seconds={
            "plan": seconds["plan"],
            "session": seconds["session"] + ready - asked,
            "score": time.perf_counter() - ready,
        },
        worker_seconds=tally.seconds,
        devices=tuple(sorted(tally.devices)),
        slots=slots.slots,
        balance=result.balance(slots.all_at_work),
        run_id=options.run_id,
    )
    return Scored(planned=planned, parts=result.parts, scoring=scoring)


def _new(planned: Planned) -> list[Shard]:
    return [shard for plan in planned.plans for shard in plan.new]


def _question(planned: Planned, options: RunOptions) -> CostQuestion | None:
    # Equal rows are predicted once, so the cost of a row would depend on how many of the first ones are equal.
    if not planned.may_measure or planned.task.batch.deduplicate:
        return None
    rows = [shard.rows for shard in _new(planned)]
    return CostQuestion(rows=sum(rows), largest_rows=max(rows), aim=options.shard_seconds)


def _run(
    spark: "SparkSession",
    planned: Planned,
    options: RunOptions,
    slots: SlotCount,
    *,
    question: CostQuestion | None = None,
    finished: Parts | None = None,
) -> RunResult:
    """Run the job over the new shards that are not among the finished ones."""
    wanted = {shard.part_path: shard for shard in _new(planned)}
    done = {path: part for path, part in (finished or {}).items() if path in wanted}
    job = ScoreJob(
        task=planned.task,
        model_loader=planned.model_loader,
        slots=options.slots,
        batch_size=options.batch_size,
        concurrent_slots=slots.on_a_worker,
        output_table=planned.table.folder.absolute,
        read_schema=planned.read_schema,
        schema=planned.plans[0].part_schema,
        files_digest=planned.files_digest,
        code=planned.code,
        packs=(),
        rows_of={plan.partition: planned.rows_of[plan.partition] for plan in planned.plans if plan.partition},
        question=question,
    )
    missing = [shard for path, shard in wanted.items() if path not in done]
    result = run_shards(spark, job, missing, slots)
    result.parts.add_all(done)
    return result


def _cut_anew(planned: Planned, costs: list[RowCost], options: RunOptions, finished: Parts) -> Planned:
    """Settle how many rows a shard has, for good, and plan the same refresh with it."""
    seconds = statistics.median(cost.seconds for cost in costs)
    cost = RowCost(seconds=seconds, batch_rows=max(cost.batch_rows for cost in costs))
    shards = _new(planned)
    rows = cost.shard_rows(sum(shard.rows for shard in shards), options.shard_seconds)
    shard_rows = planned.shard_rows.published(planned.table.folder, rows)
    longest = max(shard.rows for shard in shards)
    planned = planned.cut(shard_rows)
    planned = replace(planned, plans=tuple(_with_own(plan, finished) for plan in planned.plans))
    for plan in planned.plans:
        keep_resumed(plan)
    _LOG.info(
        "task %r: a row takes %.2g s, and the largest of %d shards has %s of them; %s is cut into shards of about %s rows "
        "from now on, which makes %d of them",
        planned.task.name,
        seconds,
        len(shards),
        f"{longest:,}",
        planned.table.uri,
        f"{shard_rows.rows:,}",
        len(_new(planned)),
    )
    return planned


def _with_own(plan: Plan, finished: Parts) -> Plan:
    """The plan, in which shards that this very run has finished count as new, and not as resumed."""
    own = [shard for shard in plan.resumable if shard.part_path in finished]
    paths = {shard.part_path for shard in own}
    return replace(
        plan,
        new=(*plan.new, *own),
        resumable=tuple(shard for shard in plan.resumable if shard.part_path not in paths),
        resumed={path: part for path, part in plan.resumed.items() if path not in paths},
    )


def _idle_slots(planned: Planned, options: RunOptions, result: RunResult, slots: SlotCount) -> str | None:
    """Why some slots had no work although the shards took long, and what to do about it; `None` if all had some."""
    shards = _new(planned)
    mean_s = sum(result.busy_s.values()) / max(1, len(shards))
    if planned.shard_rows.rows is not None or len(shards) >= slots.slots or mean_s < options.shard_seconds.too_long:
        return None
    largest = max(shards, key=lambda shard: shard.rows)
    again = (
        ""
        if planned.task.batch.deduplicate
        else "; or score every row of the table again (`rescore`, in Dagster `full_rescore`), after which row groups "
        "are split as the model needs it"
    )
    return (
        f"task {planned.task.name!r}: {len(shards)} of {slots.slots} slots had work, for {mean_s:,.0f} s each: the rows "
        f"to score are in {len(shards)} shards, since {planned.table.uri} was first scored in shards of whole row groups (the "
        f"largest is {largest}, with {largest.rows:,} rows). Write the input in smaller row groups or more files{again}"
    )

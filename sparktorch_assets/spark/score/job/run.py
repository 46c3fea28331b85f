"""Sends packs of shards to Spark, collects the receipts of the finished parts, and recovers from workers that die."""

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sparktorch_assets.errors import HostError, SparktorchError
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.files.partition_entries import partition_entries
from sparktorch_assets.lake.parts.file import PartFile, verify_parts
from sparktorch_assets.lake.parts.receipt import Receipt
from sparktorch_assets.lake.shards import Shard
from sparktorch_assets.spark.score.job.finished_parts import FinishedParts
from sparktorch_assets.spark.score.job.packs import PACKS_PER_SLOT, deal
from sparktorch_assets.spark.score.job.result_rows import RESULT_SCHEMA, unpacked_lines
from sparktorch_assets.spark.score.job.row_cost import RowCost
from sparktorch_assets.spark.score.job.worker import ScoreJob, ShardResult, bind, pack
from sparktorch_assets.spark.session.gpu.worker_share import share_profile
from sparktorch_assets.spark.session.shipped_code import with_code
from sparktorch_assets.spark.session.slot_count import SlotCount
from sparktorch_assets.spark.session.stoppable import run_stoppable
from sparktorch_assets.spark.session.worker_memory import explain_memory, memory_hint
from sparktorch_assets.spark.session.worker_pool import workers_for
from sparktorch_assets.spark.session.worker_python import explain_worker_failure
from sparktorch_assets.spark.worker_errors import find_marked, is_lost_worker, own_error, reason_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LOG = logging.getLogger(__name__)
_FRUITLESS_ATTEMPTS = 3
"""Number of consecutive jobs that may die of a lost worker without finishing another part."""


@dataclass(kw_only=True, slots=True)
class RunResult:
    """The parts that the workers finished, and how busy each slot was."""

    parts: FinishedParts = field(default_factory=FinishedParts)
    busy_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Slot (host and process) -> seconds of work."""
    row_costs: list[RowCost] = field(default_factory=list)
    """What a row costs, by each worker that found the job's shards to take too long. The job has ended early then."""

    def balance(self, slots: int | None) -> float | None:
        """The busiest slot's seconds divided by the mean over `slots` slots, or over those that were seen if `slots` is
        `None`. With 4 slots that worked for 10, 10, 10 and 20 s, it is 20 / 12.5 = 1.6. `None` if no slot was seen."""
        total = sum(self.busy_s.values())
        return max(self.busy_s.values()) * max(slots or 0, len(self.busy_s)) / total if total else None


def run_shards(spark: "SparkSession", job: ScoreJob, shards: Sequence[Shard], slots: SlotCount) -> RunResult:
    """Score the shards. If a job fails because a process died, it is started again with the missing shards.

    Spark retries tasks itself before that, but not in local mode, where a task has only one attempt. If the job asks a
    question and the answer is yes, only the shards that were finished until then have parts.

    Args:
        spark: a classic or Connect session.
        job: the job, without packs.
        shards: the shards to score.
        slots: the slots that work at once.

    Raises:
        SparktorchError: the error that a worker raised, with its own type; HostError if workers keep dying.
    """
    result = RunResult()
    waiting = list(shards)
    fruitless = 0
    while waiting:
        packs = deal(waiting, slots.to_deal_for, 1 if slots.crowded else PACKS_PER_SLOT)
        try:
            rows = _collect(spark, replace(job, packs=tuple(pack(shards) for shards in packs)), slots)
        except SparktorchError:  # raised here, before the job
            raise
        except Exception as error:
            text = str(error)
            _raise_marked(spark, text)
            reason = f"task {job.task.name!r}: {reason_of(error)}"
            known = explain_worker_failure(error) or own_error(text) or explain_memory(spark, reason)
            if known is not None:
                raise known from error
            if not is_lost_worker(text):
                raise SparktorchError(f"task {job.task.name!r}: the Spark job failed: {reason_of(error)}") from error
            found = _finished(job, waiting)
            fruitless = 0 if found else fruitless + 1
            if fruitless == _FRUITLESS_ATTEMPTS:
                raise HostError(
                    f"task {job.task.name!r}: Spark's workers died {fruitless} times in a row without finishing a shard "
                    f"({reason_of(error)}). Out of memory is the usual cause: lower the batch size or the slots, or give "
                    f"the workers more{memory_hint(spark)}. Finished parts are kept"
                ) from error
            _LOG.warning("a Spark worker died (%s); %d shards go on", reason_of(error), len(waiting) - len(found))
            result.parts.add_all(found)
        else:
            take_in(result, rows)
            if result.row_costs:
                return result
            missing = [shard for shard in waiting if shard.part_path not in result.parts]
            assert not missing, missing[:1]
        waiting = [shard for shard in waiting if shard.part_path not in result.parts]
    return result


def take_in(result: RunResult, rows: Iterable[Mapping[str, str]]) -> None:
    """Add what the workers returned to a result."""
    for row in rows:
        for line in unpacked_lines(row["result"]):
            plain = json.loads(line)
            if "row_cost" in plain:
                result.row_costs.append(RowCost(**plain["row_cost"]))
                continue
            done = ShardResult.from_plain(plain)
            result.parts.add(done, line)
            result.busy_s[done.slot] += done.busy_s


def _collect(spark: "SparkSession", job: ScoreJob, slots: SlotCount) -> list[Any]:
    count = len(job.packs)
    profile = share_profile(spark, slots.share, -(-count * slots.on_a_worker // slots.slots))
    with workers_for(spark, job.code) as pool:
        function = with_code(spark, bind(job), job.code, pool)
        scored = spark.range(0, count, 1, count).mapInArrow(function, RESULT_SCHEMA, profile=profile)
    return run_stoppable(spark, scored.collect)


def _raise_marked(spark: "SparkSession", text: str) -> None:
    found = find_marked(text)
    if found is not None:
        error, trace = found
        raise (explain_memory(spark, f"{type(error).__name__}: {error}") or error) from trace


def _finished(job: ScoreJob, shards: Sequence[Shard]) -> dict[str, tuple[PartFile, Receipt]]:
    folder = Folder(job.output_table)
    awaited = {shard.part_path for shard in shards}
    entries = partition_entries(folder, {shard.partition for shard in shards})
    return verify_parts(folder, [entry for entry in entries if entry.path in awaited])

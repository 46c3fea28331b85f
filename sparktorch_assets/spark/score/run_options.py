"""How a refresh is carried out."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from sparktorch_assets.lake.publication import Audit
from sparktorch_assets.spark.score.job.row_cost import ShardSeconds
from sparktorch_assets.spark.score.report.report import Progress
from sparktorch_assets.tasks import SlotPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """How a refresh is carried out; see `score_table`."""

    slots: SlotPolicy
    batch_size: int | None
    run_id: str
    on_progress: Callable[[Progress], None] | None
    audit: Audit | None
    publish_despite: Collection[str] = ()
    shard_seconds: ShardSeconds = field(default_factory=ShardSeconds)
    """How long a shard should take, for tables of which no run has measured the cost of a row."""

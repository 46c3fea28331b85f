"""The report of a refresh of a prediction table: the numbers that become the asset's metadata."""

from dataclasses import dataclass, field
from typing import Literal

from sparktorch_assets.errors import AuditOutcome
from sparktorch_assets.lake.files.partition_values import Partition
from sparktorch_assets.spark.score.report.scoring import Scoring
from sparktorch_assets.tally import Tally


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """The progress of a run."""

    rows_done: int
    rows_total: int
    """Rows that this run has to score."""
    rows_per_s: float
    eta_s: float | None
    """Seconds left; `None` until they can be estimated."""

    def __str__(self) -> str:
        share = self.rows_done / self.rows_total if self.rows_total else 1.0
        eta = "" if self.eta_s is None else f", {self.eta_s:,.0f} s left"
        return f"{share:.0%} of {self.rows_total:,} rows, {self.rows_per_s:,.0f} rows/s{eta}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreReport:
    """What one refresh of one prediction table did."""

    task: str
    table: str
    version: int
    """The table's Delta version now."""
    changed: bool
    """False if there was nothing to do, and no version was written."""
    shards_new: int
    shards_unchanged: int
    shards_removed: int
    shards_resumed: int
    """Shards that an earlier run finished but did not commit."""
    rows_in: int
    """Rows of the whole input, or of the partition of it, before the task's filter."""
    rows_table: int
    """Rows in the prediction table now."""
    rows_new: int = 0
    """Input rows that this run scored."""
    tally: Tally = field(default_factory=Tally)
    """Tally of the whole table."""
    run_tally: Tally = field(default_factory=Tally)
    """Tally of the rows that this run scored."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds per phase: plan, session (starting Spark), score, commit, total. If the run refreshed several partitions,
    this is one's share of them, by the rows that were scored."""
    slots: int = 0
    """Number of slots; 0 if no session was needed."""
    balance: float | None = None
    """The busiest slot's seconds divided by the mean; 1 is perfectly even. `None` if nothing was scored."""
    model_digest: str
    data_version: str
    scoring: Scoring | None = None
    """How this run scored rows or, if it had none to score, how the last run that scored rows did."""
    path: Literal["score_table", "spark_ml_predict"] = "score_table"
    """`spark_ml_predict`: the rows came from a DataFrame, through the JVM, without shards and without resuming."""
    partition: Partition = ()
    """The partition that was refreshed, which all numbers of rows and shards and all tallies refer to; empty for the
    whole table."""
    audits: tuple[AuditOutcome, ...] = ()
    """What the checks before the publication found: in this run or, if it had nothing to publish, in the last one that
    had."""

    @property
    def rows_per_s(self) -> float:
        """Input rows scored per second of the scoring phase; 0 if nothing was scored."""
        seconds = self.seconds.get("score", 0.0)
        return self.rows_new / seconds if seconds else 0.0

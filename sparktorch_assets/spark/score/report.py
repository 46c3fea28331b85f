"""What a refresh of a prediction table did: the numbers that become the asset's metadata."""

from dataclasses import dataclass, field
from typing import Literal

from sparktorch_assets.lake.partition_values import Partition
from sparktorch_assets.spark.score.scoring import Scoring
from sparktorch_assets.tally import Tally


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a run is."""

    rows_done: int
    rows_total: int
    """Rows that this run has to score."""
    rows_per_s: float
    eta_s: float | None
    """`None` until enough is done to tell."""

    def __str__(self) -> str:
        share = self.rows_done / self.rows_total if self.rows_total else 1.0
        eta = "" if self.eta_s is None else f", {self.eta_s:,.0f} s left"
        return f"{share:.0%} of {self.rows_total:,} rows, {self.rows_per_s:,.0f} rows/s{eta}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreReport:
    """One refresh of one prediction table."""

    task: str
    table: str
    version: int
    """The table's Delta version now."""
    changed: bool
    """False: nothing was to be done, and no version was written."""
    shards_new: int
    shards_unchanged: int
    shards_removed: int
    shards_resumed: int
    """Found finished, from an earlier run that did not get to its commit."""
    rows_in: int
    """Rows of the whole input, before the task's filter."""
    rows_table: int
    """Rows in the prediction table now."""
    rows_new: int = 0
    """Input rows that this run scored."""
    tally: Tally = field(default_factory=Tally)
    """Of the whole table."""
    run_tally: Tally = field(default_factory=Tally)
    """Of what this run scored."""
    seconds: dict[str, float] = field(default_factory=dict)
    """plan, session (starting Spark), score, commit, total."""
    slots: int = 0
    """0: no session was needed."""
    balance: float | None = None
    """The busiest slot's seconds over the mean; 1 is even. `None` when nothing was scored."""
    model_digest: str
    data_version: str
    scoring: Scoring | None = None
    """How this run scored rows or, where it had none to score, how the run did that last scored some."""
    path: Literal["score_table", "spark_ml_predict"] = "score_table"
    """`spark_ml_predict`: the rows came from a DataFrame, through the JVM; there are no shards then, and no resume."""
    partition: Partition = ()
    """What the refresh was confined to, and what all rows, shards and tallies here are of; empty for the whole table."""

    @property
    def rows_per_s(self) -> float:
        """Input rows that this run scored, a second of the scoring phase; 0 where nothing was scored."""
        seconds = self.seconds.get("score", 0.0)
        return self.rows_new / seconds if seconds else 0.0

"""The statistics of a publication, as checks see them: a plain view of the counts in the parts' receipts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from sparktorch_assets.number_summary import NumberSummary
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import MlTask


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """What is known of the rows of a prediction table, or of one partition of it, without reading them."""

    rows: int
    """Rows of the table: predicted ones and failed ones."""
    predicted: int
    """Rows with a prediction."""
    failed: int
    """Rows whose prediction failed."""
    dropped: int
    """Rows that hooks dropped, which the table does not hold."""
    filtered: int
    """Rows that the task's `where` left out."""
    rows_without_value: int
    """Predicted rows whose class or number is null or NaN, as a hook may have left it."""
    classes: Mapping[str, int]
    """Predicted rows per class; of other outputs, occurrences per label, or texts per reason for their end."""
    confidence_histogram: Sequence[int]
    """Predicted rows per bin of confidence, in 20 bins of equal width over [0, 1]."""
    confidence_mean: float | None
    """The mean confidence; `None` if the output has none."""
    numbers: Mapping[str, NumberSummary]
    """Count, mean, deviation, extremes and quantiles of the predicted numbers, by column."""
    partition: str = ""
    """The partition's folder, such as `ds=2013-01-01`; empty for the whole table."""

    @property
    def failed_share(self) -> float:
        """Failed rows as a share of the table's rows."""
        return self.failed / self.rows if self.rows else 0.0

    @property
    def null_share(self) -> float:
        """Rows without a prediction, failed ones included, as a share of the table's rows."""
        return (self.failed + self.rows_without_value) / self.rows if self.rows else 0.0

    @property
    def class_shares(self) -> dict[str, float]:
        """Each class's share of all that are counted in `classes`."""
        whole = sum(self.classes.values())
        return {name: count / whole for name, count in self.classes.items()} if whole else {}

    @classmethod
    def of(cls, task: MlTask, tally: Tally, partition: str = "") -> Self:
        """The statistics of rows with this tally."""
        return cls(
            rows=tally.predicted + tally.failed,
            predicted=tally.predicted,
            failed=tally.failed,
            dropped=tally.dropped,
            filtered=tally.filtered,
            rows_without_value=max(0, task.output.rows_without_value(tally)),
            classes=dict(tally.classes),
            confidence_histogram=tuple(tally.confidence_histogram),
            confidence_mean=tally.confidence_mean,
            numbers=dict(tally.numbers),
            partition=partition,
        )

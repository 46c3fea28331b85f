"""One partition: its key, the partition of the prediction table that it is, and the rows of the input that it takes."""

from dataclasses import dataclass

from sparktorch_assets.tasks.row_filter import RowFilter


@dataclass(frozen=True, kw_only=True, slots=True)
class TablePartition:
    """A partition of a prediction table, with the conditions that select its rows of the input."""

    key: str
    """Dagster's partition key."""
    column: str
    """The prediction table's partition column: a column of the input, or one that is added to the predictions."""
    value: str
    """The value of `column` in this partition, as text."""
    where: tuple[RowFilter, ...]
    """The conditions on the input's rows, all of which hold for the partition's rows and for no others."""

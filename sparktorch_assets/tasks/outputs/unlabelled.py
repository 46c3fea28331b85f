"""What outputs without labels have in common."""

from collections.abc import Sequence
from typing import ClassVar

from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.outputs.column import OutputColumn
from sparktorch_assets.tasks.outputs.report import rows_without_number


class UnlabelledOutput:
    """Base of outputs that take no labels, and whose options add no columns."""

    __slots__ = ()

    labelled = False
    """Whether the task has to name `labels`."""
    refers_to: ClassVar[str | None] = None
    """The kind of the feature that places in the predictions refer to: there are none."""
    incomparable = ""
    """Why `challenger_of` cannot compare predictions; empty if it can."""
    drifts: ClassVar[tuple[str, ...]] = ("number",)
    """The statistics whose drift can be limited."""

    @property
    def number_names(self) -> tuple[str, ...]:
        """The statistics of numbers of which each predicted row has one."""
        return ()

    def rows_without_value(self, tally: Tally) -> int:
        """Predicted rows without a value: null, or NaN."""
        return rows_without_number(tally, self.number_names)

    @property
    def takes_truth(self) -> bool:
        """Whether predictions can be compared with a column of true values."""
        return False

    def wrong_truth(self, found: str) -> str | None:  # noqa: ARG002  (of all outputs)
        """What is wrong with a column of true values of this type; `None` if nothing is."""
        return None

    def check_labels(self, labels: Sequence[str]) -> None:
        """Raise TaskError if the options do not fit the labels: there are none."""

    @property
    def optional_columns(self) -> tuple[OutputColumn, ...]:
        """The columns that options add: none."""
        return ()

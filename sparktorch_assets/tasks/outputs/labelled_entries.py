"""What outputs with a list of labelled entries per row have in common: spans of a text, boxes in an image."""

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar

from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.outputs.classification import most_frequent
from sparktorch_assets.tasks.outputs.column import OutputColumn
from sparktorch_assets.tasks.outputs.label_checks import label_check_specs, label_checks
from sparktorch_assets.tasks.outputs.report import (
    CheckOutcome,
    CheckSpec,
    Shown,
    ShownBars,
    number_histograms,
    number_table,
    rows_without_number,
)


class LabelledEntries:
    """Base of outputs whose only column is a list of structs, each with a `label`, a `score` and a place."""

    __slots__ = ()

    labelled = True
    """Whether the task has to name `labels`."""
    incomparable = (
        "which entries of two lists belong together is a choice of its own, such as how much boxes must overlap"
    )
    """Why `challenger_of` cannot compare predictions."""
    entry: ClassVar[str]
    """What an entry is called in statistics: `span` or `box`."""
    entries: ClassVar[str]
    """The plural, which is the column's name, too."""
    misplaced: ClassVar[str]
    """The count of entries whose place cannot be right."""
    place_check: ClassVar[str]
    """The name of the check that there are no such entries."""
    place_rule: ClassVar[str]
    """What that check demands of a place."""
    drifts: ClassVar[tuple[str, ...]] = ("class_share", "number")
    """The statistics whose drift can be limited."""

    def rows_without_value(self, tally: Tally) -> int:
        """Predicted rows whose list is null, as a hook may have left it."""
        return rows_without_number(tally, [f"{self.entries} per row"])

    def entry_labels(self, labels: Sequence[str]) -> tuple[str, ...]:
        """The labels that entries may have, given those of the task."""
        return tuple(labels)

    @property
    def takes_truth(self) -> bool:
        """Whether predictions can be compared with a column of true values."""
        return False

    def wrong_truth(self, found: str) -> str | None:  # noqa: ARG002  (of all outputs)
        """What is wrong with a column of true values of this type; `None` if nothing is."""
        return None

    @property
    def without(self) -> str:
        """The name of the count of rows whose list is empty."""
        return f"rows without a {self.entry}"

    @property
    def optional_columns(self) -> tuple[OutputColumn, ...]:
        """The columns that options add: none."""
        return ()

    @property
    def check_specs(self) -> tuple[CheckSpec, ...]:
        """The checks of a table."""
        place = CheckSpec(name=self.place_check, description=self.place_rule)
        return (*label_check_specs("Every label is one that the task's labels give"), place)

    def checks(self, tally: Tally, labels: Sequence[str]) -> tuple[CheckOutcome, ...]:
        """The checks' outcomes for a table with this tally."""
        misplaced = tally.marks.get(self.misplaced, 0)
        place = CheckOutcome(name=self.place_check, passed=misplaced == 0, details={self.misplaced: misplaced})
        return (*label_checks(tally, self.entry_labels(labels)), place)

    def page(self, tally: Tally) -> dict[str, Shown]:
        """What people look at first."""
        shown, whole = most_frequent(tally.classes), sum(tally.classes.values())
        bars = ShownBars(
            title=f"{self.entries.capitalize()} per label",
            counts=shown,
            whole=whole,
            left_out=len(tally.classes) - len(shown),
        )
        return {
            self.entries: bars,
            f"rows_without_{self.entry}": tally.marks.get(self.without, 0),
            f"{self.entry}_numbers": number_table(tally.numbers),
            **number_histograms(tally.numbers),
        }

    def figures(self, tally: Tally) -> dict[str, str]:
        """The same for programs, as JSON."""
        shares = _shares(tally.classes)
        return {"label_shares": json.dumps({name: shares[name] for name, _ in most_frequent(tally.classes)})}


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    """Each count as a share of all entries."""
    whole = sum(counts.values())
    return {name: count / whole for name, count in counts.items()}

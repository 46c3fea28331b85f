"""Any number of labels per row: what a sigmoid makes of each logit."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from sparktorch_assets.errors import TaskError, nearest
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.outputs.classification import class_bars, most_frequent
from sparktorch_assets.tasks.outputs.column import OutputColumn
from sparktorch_assets.tasks.outputs.label_checks import label_check_specs, label_checks
from sparktorch_assets.tasks.outputs.report import (
    CheckOutcome,
    CheckSpec,
    Shown,
    number_histograms,
    number_table,
    rows_without_number,
)
from sparktorch_assets.tasks.outputs.truth import label_truth
from sparktorch_assets.tasks.outputs.truth_types import wrong_labels
from sparktorch_assets.tasks.validation import freeze, share

WITHOUT_LABEL = "rows without a label"
_THRESHOLD = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class MultilabelOutput:
    """Any number of labels per row, from logits (B, C) over the task's `labels`: `predicted_labels`, those whose sigmoid
    reaches the threshold, and `scores`, the sigmoid of every logit."""

    threshold: float = _THRESHOLD
    """A label is predicted if its score is at least this."""
    thresholds: Mapping[str, float] | tuple[tuple[str, float], ...] = ()
    """Thresholds of single labels, instead of `threshold`."""
    kind: Literal["multilabel"] = "multilabel"
    """Tells the outputs apart. YAML has to give it; in Python, the class implies it."""

    def __post_init__(self) -> None:
        check_fields(self)
        share(self.threshold, "MultilabelOutput.threshold")
        object.__setattr__(self, "thresholds", freeze(self.thresholds, "MultilabelOutput.thresholds"))
        for label, limit in self.label_thresholds.items():
            share(limit, f"MultilabelOutput.thresholds[{label!r}]")

    labelled = True
    """Whether the task has to name `labels`."""
    refers_to: ClassVar[str | None] = None
    """The kind of the feature that places in the predictions refer to: there are none."""
    incomparable = ""
    """Why `challenger_of` cannot compare predictions; empty if it can."""
    drifts: ClassVar[tuple[str, ...]] = ("class_share", "number")
    """The statistics whose drift can be limited."""

    def rows_without_value(self, tally: Tally) -> int:
        """Predicted rows whose list of labels is null, as a hook may have left it."""
        return rows_without_number(tally, ["labels per row"])

    @property
    def takes_truth(self) -> bool:
        """Whether predictions can be compared with a column of true values."""
        return True

    def wrong_truth(self, found: str) -> str | None:
        """What is wrong with a column of true values of this type; `None` if nothing is."""
        return wrong_labels(found)

    def check_labels(self, labels: Sequence[str]) -> None:
        """Raise TaskError if the options do not fit the labels."""
        for label in self.label_thresholds:
            if label not in labels:
                raise TaskError(f"MultilabelOutput.thresholds names {label!r}; {nearest(label, labels)}")

    @property
    def label_thresholds(self) -> dict[str, float]:
        """The thresholds of single labels."""
        return dict(self.thresholds)

    @property
    def main_columns(self) -> tuple[OutputColumn, ...]:
        """The columns, by their names without a prefix."""
        return (
            OutputColumn(name="predicted_labels", type="list<string>"),
            OutputColumn(name="scores", type="list<float>"),
        )

    @property
    def optional_columns(self) -> tuple[OutputColumn, ...]:
        """The columns that options add: none."""
        return ()

    @property
    def digest_parts(self) -> dict[str, Any]:
        """What changes predictions in addition to the columns and the labels."""
        return {"kind": self.kind, "threshold": self.threshold, "thresholds": self.thresholds}

    @property
    def tensor_options(self) -> tuple[str, ...]:
        """The options given that only apply to a network's tensors: a model object returns finished values."""
        return (
            *(("threshold",) if self.threshold != _THRESHOLD else ()),
            *(("thresholds",) if self.thresholds else ()),
        )

    @property
    def described(self) -> Mapping[str, str]:
        """Descriptions of columns."""
        return {
            "predicted_labels": "The labels whose score reaches the threshold; null where the row failed",
            "scores": "The sigmoid of every label's logit, in the order of the labels",
        }

    @property
    def check_specs(self) -> tuple[CheckSpec, ...]:
        """The checks of a table."""
        return label_check_specs("Every label is one of the task's labels")

    def checks(self, tally: Tally, labels: Sequence[str]) -> tuple[CheckOutcome, ...]:
        """The checks' outcomes for a table with this tally."""
        return label_checks(tally, labels)

    def page(self, tally: Tally) -> dict[str, Shown]:
        """What people look at first."""
        return {
            **label_truth(tally),
            "labels_predicted": class_bars(tally, "label"),
            "rows_without_label": tally.marks.get(WITHOUT_LABEL, 0),
            "labels_per_row": number_table(tally.numbers),
            **number_histograms(tally.numbers),
        }

    def figures(self, tally: Tally) -> dict[str, str]:
        """The same for programs, as JSON."""
        shares = {name: rows / tally.predicted for name, rows in most_frequent(tally.classes)}
        return {"label_shares": json.dumps(shares)}

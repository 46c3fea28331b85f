"""One class per row: what softmax makes of logits."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.outputs.column import OutputColumn
from sparktorch_assets.tasks.outputs.report import CheckOutcome, CheckSpec, Shown, ShownBars, ShownHistogram
from sparktorch_assets.tasks.outputs.truth import class_truth
from sparktorch_assets.tasks.outputs.truth_types import wrong_class
from sparktorch_assets.tasks.validation import positive, share

CONFIDENCE_IN_RANGE = "confidence_in_range"
CLASSES_WITHIN_LABELS = "classes_within_labels"
_TOP_CLASSES = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassificationOutput:
    """One class per row, from logits (B, C) over the task's `labels`: `predicted_class` and `confidence`, the softmax
    probability of that class."""

    scores: bool = False
    """Add the column `scores`: the probability of every class, in the order of `labels`."""
    embedding: bool = False
    """Add the column `embedding`: what the model returns in addition to its logits (`(logits, embedding)`, or an object
    with both as attributes)."""
    top_k: int | None = None
    """Add the column `top`: this many classes with their probabilities, the most probable first."""
    threshold: float | None = None
    """Rows whose confidence is below this get the class `below`."""
    below: str | None = None
    """The class of rows below the threshold. It must not be one of the labels."""
    kind: Literal["classification"] = "classification"
    """Tells the outputs apart. YAML has to give it; in Python, the class implies it."""

    def __post_init__(self) -> None:
        check_fields(self)
        positive(self.top_k, "ClassificationOutput.top_k")
        share(self.threshold, "ClassificationOutput.threshold")
        if (self.threshold is None) != (self.below is None):
            raise TaskError(
                f"ClassificationOutput: threshold={self.threshold!r} and below={self.below!r}; give both, the limit and "
                f"the class of rows below it, or neither"
            )

    labelled = True
    """Whether the task has to name `labels`."""
    refers_to: ClassVar[str | None] = None
    """The kind of the feature that places in the predictions refer to: there are none."""
    incomparable = ""
    """Why `challenger_of` cannot compare predictions; empty if it can."""
    drifts: ClassVar[tuple[str, ...]] = ("class_share", "confidence")
    """The statistics whose drift can be limited."""

    def rows_without_value(self, tally: Tally) -> int:
        """Predicted rows without a class, as a hook may have left them."""
        return tally.predicted - sum(tally.classes.values())

    @property
    def takes_truth(self) -> bool:
        """Whether predictions can be compared with a column of true values."""
        return True

    def wrong_truth(self, found: str) -> str | None:
        """What is wrong with a column of true values of this type; `None` if nothing is."""
        return wrong_class(found)

    def check_labels(self, labels: Sequence[str]) -> None:
        """Raise TaskError if the options do not fit the labels."""
        if self.below is not None and self.below in labels:
            raise TaskError(f"ClassificationOutput.below={self.below!r} is one of the labels; choose another name")
        if self.top_k is not None and self.top_k > len(labels):
            raise TaskError(f"ClassificationOutput.top_k={self.top_k} is more than the {len(labels)} labels")

    @property
    def main_columns(self) -> tuple[OutputColumn, ...]:
        """The columns, by their names without a prefix."""
        return OutputColumn(name="predicted_class", type="string"), OutputColumn(name="confidence", type="float")

    @property
    def optional_columns(self) -> tuple[OutputColumn, ...]:
        """The columns that options add, which follow `prediction_error`."""
        return (
            *((OutputColumn(name="scores", type="list<float>"),) if self.scores else ()),
            *((OutputColumn(name="embedding", type="list<float>"),) if self.embedding else ()),
            *(
                (OutputColumn(name="top", type="list<struct<class: string, confidence: float>>"),)
                if self.top_k is not None
                else ()
            ),
        )

    @property
    def digest_parts(self) -> dict[str, Any]:
        """What changes predictions in addition to the columns and the labels."""
        parts = {"top_k": self.top_k, "threshold": self.threshold, "below": self.below}
        return {name: value for name, value in parts.items() if value is not None}

    @property
    def tensor_options(self) -> tuple[str, ...]:
        """The options given that only apply to a network's tensors: a model object returns finished values."""
        return ("threshold", "below") if self.threshold is not None else ()

    @property
    def described(self) -> Mapping[str, str]:
        """Descriptions of columns."""
        return {
            "predicted_class": "One of the task's labels; null where the row failed",
            "confidence": "Softmax probability of that class, in [0, 1]",
            "scores": "Softmax probability of every class, in the order of the labels",
            "top": "The most probable classes with their probabilities",
        }

    @property
    def check_specs(self) -> tuple[CheckSpec, ...]:
        """The checks of a table."""
        return (
            CheckSpec(name=CONFIDENCE_IN_RANGE, description="Every confidence lies in [0, 1]"),
            CheckSpec(name=CLASSES_WITHIN_LABELS, description="Every class is one of the task's labels"),
        )

    def checks(self, tally: Tally, labels: Sequence[str]) -> tuple[CheckOutcome, ...]:
        """The checks' outcomes for a table with this tally."""
        # The histogram covers only [0, 1], so that the rows it misses lie outside or are NaN.
        outside = tally.predicted - sum(tally.confidence_histogram)
        allowed = {*labels, *([self.below] if self.below else ())}
        unknown = {name: rows for name, rows in tally.classes.items() if name not in allowed}
        without = tally.predicted - sum(tally.classes.values())
        return (
            CheckOutcome(name=CONFIDENCE_IN_RANGE, passed=outside == 0, details={"rows outside [0, 1]": outside}),
            CheckOutcome(
                name=CLASSES_WITHIN_LABELS,
                passed=not unknown and not without,
                details={
                    "rows with a class outside the labels": sum(unknown.values()),
                    "unknown classes": ", ".join(sorted(unknown)[:20]) or "none",
                    "rows without a class": without,
                },
            ),
        )

    def page(self, tally: Tally) -> dict[str, Shown]:
        """What people look at first."""
        shown: dict[str, Shown] = {"classes": class_bars(tally, "class")}
        if tally.confidence_mean is not None:
            shown["confidence_mean"] = float(tally.confidence_mean)
            shown["confidence_histogram"] = ShownHistogram(
                title="confidence", counts=tally.confidence_histogram, low=0.0, high=1.0, mean=tally.confidence_mean
            )
        return class_truth(tally) | shown

    def figures(self, tally: Tally) -> dict[str, str]:
        """The same for programs, as JSON."""
        shares = {name: rows / tally.predicted for name, rows in most_frequent(tally.classes)}
        shown = {"class_shares": json.dumps(shares)}
        if tally.confidence_mean is not None:
            shown["confidence_bins"] = json.dumps(list(tally.confidence_histogram))
        return shown


def class_bars(tally: Tally, what: str) -> ShownBars:
    """The classes or labels by share of the predicted rows, most frequent first."""
    shown = most_frequent(tally.classes)
    return ShownBars(
        title=f"Rows per {what}", counts=shown, whole=tally.predicted, left_out=len(tally.classes) - len(shown)
    )


def most_frequent(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The largest counts, in order."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_TOP_CLASSES]

"""The checks of outputs that give any number of labels with scores: their labels are declared, their scores in [0, 1]."""

from collections.abc import Sequence

from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.outputs.report import CheckOutcome, CheckSpec

LABELS_WITHIN_DECLARED = "labels_within_declared"
SCORES_IN_RANGE = "scores_in_range"
NO_LABEL = "labels that are null"
OUTSIDE = "scores outside [0, 1]"


def label_check_specs(of_labels: str) -> tuple[CheckSpec, ...]:
    """The checks, with the description of the one of labels."""
    return (
        CheckSpec(name=SCORES_IN_RANGE, description="Every score lies in [0, 1]"),
        CheckSpec(name=LABELS_WITHIN_DECLARED, description=of_labels),
    )


def label_checks(tally: Tally, labels: Sequence[str]) -> tuple[CheckOutcome, ...]:
    """The checks' outcomes for a table with this tally, of which `labels` are the ones that may occur."""
    outside, missing = tally.marks.get(OUTSIDE, 0), tally.marks.get(NO_LABEL, 0)
    unknown = sorted(tally.classes.keys() - set(labels))
    return (
        CheckOutcome(name=SCORES_IN_RANGE, passed=outside == 0, details={OUTSIDE: outside}),
        CheckOutcome(
            name=LABELS_WITHIN_DECLARED,
            passed=not unknown and not missing,
            details={"unknown labels": ", ".join(unknown[:20]) or "none", NO_LABEL: missing},
        ),
    )

"""What the page of a table says where the truth is known: how good its predictions are.

Receipts count what this needs, so that no row is read twice. Counts per pair of classes are bounded: of a task with more
than `MOST_CLASSES` labels, errors are only counted per true class, and so are all classes that are not among the labels.
"""

import json
import math
from collections import Counter, defaultdict

from sparktorch_assets.tally import CONFIDENCE_BINS, Tally
from sparktorch_assets.tasks.outputs.report import ReliabilityBin, Shown, ShownConfusion, ShownReliability, ShownTable

MOST_CLASSES = 100
"""The largest number of labels of which every pair is counted."""
WITHOUT_TRUTH = "rows without a truth"
"""The count of predicted rows whose truth is null."""
ERROR, ABSOLUTE_ERROR, TRUTH = "error", "absolute error", "truth"
"""The statistics of a regression whose truth is known; an error is the prediction minus the truth."""
_OTHER = "(other)"
"""How classes that are not counted one by one are shown. They are `None` until then, since a label may have this name."""
_SHOWN_CLASSES = 20
_SHOWN_PAIRS = 8

Pairs = dict[tuple[str | None, str | None], int]
"""(True class, predicted class) -> rows."""


def pair_key(truth: str | None, predicted: str | None) -> str:
    """The key of a pair in `Tally.confusion`; `None` stands for classes that are not counted one by one.

    >>> pair_key("a", "b"), pair_key("a", None)
    ('["a","b"]', '["a",null]')
    """
    return json.dumps([truth, predicted], ensure_ascii=False, separators=(",", ":"))


def class_truth(tally: Tally) -> dict[str, Shown]:
    """How often the class is the true one, how far confidences can be trusted, and which classes are confused."""
    pairs, without = _pairs(tally), _without_truth(tally)
    if not pairs:
        return without
    total = sum(pairs.values())
    truths = Counter[str | None]()
    for (truth, _), rows in pairs.items():
        truths[truth] += rows
    shown: dict[str, Shown] = {
        "accuracy": sum(rows for (truth, predicted), rows in pairs.items() if _right(truth, predicted)) / total,
        "majority_class_share": max(truths.values()) / total,
        "rows_with_truth": total,
        **without,
    }
    reliability = _reliability(tally)
    if reliability is not None:
        shown |= {"expected_calibration_error": reliability.error, "reliability": reliability}
    return shown | {"confusion_matrix": _matrix(pairs, truths), **_confusions(pairs, truths)}


def label_truth(tally: Tally) -> dict[str, Shown]:
    """How well the labels of rows with any number of them agree with the true ones: precision, recall and their harmonic
    mean, over all labels of all rows (micro-averaged)."""
    pairs, without = _pairs(tally), _without_truth(tally)
    right = sum(count for (truth, predicted), count in pairs.items() if _right(truth, predicted))
    missed = sum(count for (_, predicted), count in pairs.items() if predicted is None)
    wrong = sum(count for (truth, predicted), count in pairs.items() if truth is None and predicted is not None)
    if not right + missed + wrong:
        return without
    shown: dict[str, Shown] = {"micro_f1": 2 * right / (2 * right + missed + wrong)}
    if right + wrong:
        shown["micro_precision"] = right / (right + wrong)
    if right + missed:
        shown["micro_recall"] = right / (right + missed)
    return shown | without


def number_truth(tally: Tally) -> dict[str, Shown]:
    """How far numbers are from the truth, in their own unit, and which share of the truth's variance they explain."""
    error, absolute, truth = (tally.numbers.get(name) for name in (ERROR, ABSOLUTE_ERROR, TRUTH))
    without = _without_truth(tally)
    if error is None or absolute is None or truth is None:
        return without
    if absolute.mean is None or error.mean is None or error.deviation is None or truth.deviation is None:
        return without  # too large for a double
    squared = error.deviation**2 + error.mean**2
    shown: dict[str, Shown] = {
        "mean_absolute_error": absolute.mean,
        "root_mean_squared_error": math.sqrt(squared),
        "bias": error.mean,
    }
    if truth.deviation:
        shown["r_squared"] = 1 - squared / truth.deviation**2
    return {**shown, "rows_with_truth": error.count, **without}


def _without_truth(tally: Tally) -> dict[str, Shown]:
    rows = tally.marks.get(WITHOUT_TRUTH, 0)
    return {"rows_without_truth": rows} if rows else {}


def _pairs(tally: Tally) -> Pairs:
    found: Pairs = defaultdict(int)
    for key, rows in tally.confusion.items():
        truth, predicted = json.loads(key)
        found[truth, predicted] += rows
    return dict(found)


def _right(truth: str | None, predicted: str | None) -> bool:
    return truth is not None and truth == predicted


def _named(name: str | None) -> str:
    return _OTHER if name is None else name


def _reliability(tally: Tally) -> ShownReliability | None:
    """The points of the diagram, and the expected calibration error (Guo, Pleiss, Sun and Weinberger, ICML 2017): the mean
    distance of a bin's accuracy from its mean confidence, weighted by rows."""
    bins = [
        ReliabilityBin(
            place=int(place),
            rows=rows,
            accuracy=tally.calibration_right.get(place, 0) / rows,
            confidence=tally.calibration_confidence.get(place, 0.0) / rows,
        )
        for place, rows in sorted(tally.calibration_rows.items(), key=lambda item: int(item[0]))
        if rows
    ]
    total = sum(found.rows for found in bins)
    if not total:
        return None
    error = sum(found.rows * abs(found.accuracy - found.confidence) for found in bins) / total
    return ShownReliability(bins=bins, bin_count=CONFIDENCE_BINS, error=error)


def _matrix(pairs: Pairs, truths: Counter[str | None]) -> ShownConfusion:
    named = sorted(name for name, _ in truths.most_common(_SHOWN_CLASSES) if name is not None)
    shown = set(named)
    cells: Pairs = defaultdict(int)
    for (truth, predicted), rows in pairs.items():
        cells[truth if truth in shown else None, predicted if predicted in shown else None] += rows
    classes: list[str | None] = [*named, *([None] if any(None in pair for pair in cells) else [])]
    return ShownConfusion(
        classes=list(map(_named, classes)),
        rows=[[cells.get((truth, predicted), 0) for predicted in classes] for truth in classes],
    )


def _confusions(pairs: Pairs, truths: Counter[str | None]) -> dict[str, Shown]:
    wrong = sorted(
        ((rows, truth, predicted) for (truth, predicted), rows in pairs.items() if not _right(truth, predicted)),
        key=lambda found: (-found[0], _named(found[1]), _named(found[2])),
    )[:_SHOWN_PAIRS]
    if not wrong:
        return {}
    lines = [
        [_named(truth), _named(predicted), f"{rows:,}", f"{rows / truths[truth]:.1%}"]
        for rows, truth, predicted in wrong
    ]
    return {"biggest_confusions": ShownTable(columns=("truth", "predicted", "rows", "of the true class"), rows=lines)}

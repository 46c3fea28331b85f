"""Compares finished predictions with the truth, for receipts: one function per kind of output that can be compared.

Shapes: N rows, C labels.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sparktorch_assets.predict.outputs.numbers import count_numbers, mark
from sparktorch_assets.tally import CONFIDENCE_BINS, Tally
from sparktorch_assets.tasks.ml_task import MlTask
from sparktorch_assets.tasks.outputs.truth import ABSOLUTE_ERROR, ERROR, MOST_CLASSES, TRUTH, WITHOUT_TRUTH, pair_key

Column = Callable[[str], pa.Array]


def count_truth(batch: pa.RecordBatch, truth: pa.Array, task: MlTask, tally: Tally) -> None:
    """Compare finished rows with the truth. Rows that failed, and those whose truth is null, are not compared.

    Args:
        batch: the rows, with the columns that the task's output always has.
        truth: the column `MlTask.truth`, one value per row.
        task: the task.
        tally: what is added to.
    """
    _COUNTERS[task.output.kind](lambda name: batch.column(f"{task.output_prefix}{name}"), truth, task, tally)


def _count_classes(column: Column, truth: pa.Array, task: MlTask, tally: Tally) -> None:
    """Pairs of true and predicted class, and right rows per bin of confidence."""
    known_N = _known(column("predicted_class"), truth, tally)
    labels, others = pa.array(task.labels, pa.string()), len(task.labels)
    truth_N, predicted_N = (_places(found, labels)[known_N] for found in (truth, column("predicted_class")))
    confidence_N = column("confidence").to_numpy(zero_copy_only=False)[known_N]
    right_N = (truth_N == predicted_N) & (truth_N < others)
    # Classes that are no labels, such as that of rows below a threshold, have a confidence that is not about them.
    inside_N = (confidence_N >= 0) & (confidence_N <= 1) & (predicted_N < others)
    bins_N = np.minimum(confidence_N[inside_N] * CONFIDENCE_BINS, CONFIDENCE_BINS - 1).astype(np.intp)
    for place in np.unique(bins_N).tolist():
        in_bin_N = bins_N == place
        _add(tally.calibration_rows, str(place), int(in_bin_N.sum()))
        _add(tally.calibration_right, str(place), int(right_N[inside_N][in_bin_N].sum()))
        total = float(confidence_N[inside_N][in_bin_N].sum(dtype=np.float64))
        tally.calibration_confidence[str(place)] = tally.calibration_confidence.get(str(place), 0.0) + total
    if others > MOST_CLASSES:
        predicted_N = np.where(right_N, predicted_N, others)
    _count_pairs(truth_N, predicted_N, task, tally)


def _count_labels(column: Column, truth: pa.Array, task: MlTask, tally: Tally) -> None:
    """Labels that are true and predicted, and those that are only one of both."""
    known_N = _known(column("predicted_labels"), truth, tally)
    labels, others = pa.array(task.labels, pa.string()), len(task.labels)
    true, predicted = (
        _entries(found.filter(pa.array(known_N)), labels) for found in (truth, column("predicted_labels"))
    )
    width = others + 1
    for entries, as_truth, as_predicted in (
        (np.intersect1d(true, predicted), True, True),
        (np.setdiff1d(true, predicted), True, False),
        (np.setdiff1d(predicted, true), False, True),
    ):
        places = entries % width
        nothing = np.full(len(places), others)
        _count_pairs(places if as_truth else nothing, places if as_predicted else nothing, task, tally)


def _count_numbers(column: Column, truth: pa.Array, task: MlTask, tally: Tally) -> None:
    """Statistics of the truth and of the errors."""
    (name,) = (item.name for item in task.output.main_columns)
    values = truth.cast(pa.float64(), safe=False)  # rounds whole numbers beyond 2^53, which would be refused
    finite = pc.if_else(pc.is_finite(values), values, pa.scalar(None, pa.float64()))
    known_N = _known(column(name), finite, tally)
    truth_N = finite.to_numpy(zero_copy_only=False)[known_N]
    error_N = column(name).to_numpy(zero_copy_only=False)[known_N] - truth_N
    count_numbers(ERROR, error_N, tally)
    count_numbers(ABSOLUTE_ERROR, np.abs(error_N), tally)
    count_numbers(TRUTH, truth_N, tally)


_COUNTERS: Mapping[str, Callable[[Column, pa.Array, MlTask, Tally], None]] = {
    "classification": _count_classes,
    "multilabel": _count_labels,
    "regression": _count_numbers,
}


def _known(predicted: pa.Array, truth: pa.Array, tally: Tally) -> npt.NDArray[np.bool_]:
    """Which rows can be compared. Predicted rows without a truth are counted."""
    done_N, known_N = (found.is_valid().to_numpy(zero_copy_only=False) for found in (predicted, truth))
    mark(WITHOUT_TRUTH, int((done_N & ~known_N).sum()), tally)
    known: npt.NDArray[np.bool_] = done_N & known_N
    return known


def _places(classes: pa.Array, labels: pa.Array) -> npt.NDArray[np.int64]:
    """Each class as its place among the labels, or the number of labels if it is none of them."""
    found = pc.index_in(classes.cast(pa.string()), value_set=labels)
    places: npt.NDArray[np.int64] = found.fill_null(len(labels)).to_numpy(zero_copy_only=False).astype(np.int64)
    return places


def _entries(lists: pa.Array, labels: pa.Array) -> npt.NDArray[np.int64]:
    """The different labels of each row, as row x (C + 1) + place."""
    rows = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.unique(rows * (len(labels) + 1) + _places(pc.list_flatten(lists), labels))


def _count_pairs(truth: npt.NDArray[Any], predicted: npt.NDArray[Any], task: MlTask, tally: Tally) -> None:
    names, width = (*task.labels, None), len(task.labels) + 1
    pairs, counts = np.unique(truth * width + predicted, return_counts=True)
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        _add(tally.confusion, pair_key(names[pair // width], names[pair % width]), count)


def _add(counts: dict[str, int], key: str, count: int) -> None:
    if count:
        counts[key] = counts.get(key, 0) + count

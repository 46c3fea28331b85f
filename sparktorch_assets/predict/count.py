"""Adds finished rows to the counts that receipts, reports and metadata show."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sparktorch_assets.predict.failures import RowFailure
from sparktorch_assets.tally import CONFIDENCE_BINS, Tally
from sparktorch_assets.tasks.ml_task import MlTask


def count_predictions(
    result: pa.RecordBatch, failures: dict[int, RowFailure], task: MlTask, device: str, tally: Tally
) -> None:
    """Add the rows of `result` to `tally`; those in `failures` have no prediction."""
    tally.failed += len(failures)
    tally.predicted += result.num_rows - len(failures)
    tally.devices[device] = tally.devices.get(device, 0) + result.num_rows
    for failure in failures.values():
        tally.reasons[failure.reason] = tally.reasons.get(failure.reason, 0) + 1
    count_values(result, task, tally)


def count_values(batch: pa.RecordBatch, task: MlTask, tally: Tally) -> None:
    """Add the classes and confidences of finished rows to `tally`; rows that failed have none."""
    for name, rows in _class_counts(batch.column(task.class_column).drop_null()):
        tally.classes[name] = tally.classes.get(name, 0) + rows
    confidence = batch.column(task.confidence_column).drop_null().to_numpy(zero_copy_only=False)
    if not (confidence.min(initial=0) >= 0 and confidence.max(initial=0) <= 1):
        # Values outside [0, 1] go into no bin: the check on the range of confidences counts the missing ones.
        confidence = confidence[(confidence >= 0) & (confidence <= 1)]
    tally.confidence_sum += float(confidence.sum(dtype=np.float64))
    *counts, ones = np.bincount((confidence * CONFIDENCE_BINS).astype(np.intp), minlength=CONFIDENCE_BINS + 1).tolist()
    counts[-1] += ones  # the last bin includes its upper end, 1.0
    tally.confidence_histogram = [a + b for a, b in zip(tally.confidence_histogram, counts, strict=True)]


def _class_counts(classes: pa.Array) -> list[tuple[str, int]]:
    if pa.types.is_dictionary(classes.type):
        rows_by_index = np.bincount(classes.indices.to_numpy(), minlength=len(classes.dictionary))
        return [
            (name, rows)
            for name, rows in zip(classes.dictionary.to_pylist(), rows_by_index.tolist(), strict=True)
            if rows
        ]
    return [(item["values"].as_py(), item["counts"].as_py()) for item in pc.value_counts(classes)]

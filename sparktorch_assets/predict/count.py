"""Adds finished rows to the counts that receipts, reports and metadata show."""

import pyarrow as pa

from sparktorch_assets.predict.failures import RowFailure
from sparktorch_assets.predict.outputs import make_decoder
from sparktorch_assets.predict.outputs.truth import count_truth
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.ml_task import MlTask


def count_predictions(
    result: pa.RecordBatch,
    failures: dict[int, RowFailure],
    task: MlTask,
    device: str,
    tally: Tally,
    truth: pa.Array | None = None,
) -> None:
    """Add the rows of `result` to `tally`; those in `failures` have no prediction. `truth` is what they are compared
    with, one value per row."""
    tally.failed += len(failures)
    tally.predicted += result.num_rows - len(failures)
    tally.devices[device] = tally.devices.get(device, 0) + result.num_rows
    for failure in failures.values():
        tally.reasons[failure.reason] = tally.reasons.get(failure.reason, 0) + 1
    count_values(result, task, tally)
    if truth is not None:
        count_truth(result, truth, task, tally)


def count_values(batch: pa.RecordBatch, task: MlTask, tally: Tally) -> None:
    """Add the values of finished rows to `tally`, as the task's output counts them; rows that failed have none."""
    make_decoder(task).count(lambda name: batch.column(f"{task.output_prefix}{name}"), tally)

"""A model's predictions, as columns.

Shapes: N rows.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sparktorch_assets.arrow_types import arrow_type
from sparktorch_assets.predict.arrow_lists import scatter
from sparktorch_assets.predict.failures import RowFailure
from sparktorch_assets.tasks.ml_task import MlTask


@dataclass(kw_only=True, slots=True)
class Predictions:
    """Predictions of N rows. Rows in `failures` have no prediction, whatever the arrays hold for them."""

    rows: int
    columns: dict[str, pa.Array]
    """The columns that the model fills, by their names without the task's prefix; classes may be dictionary-encoded."""
    failures: dict[int, RowFailure] = field(default_factory=dict)
    truncated_N: npt.NDArray[np.bool_] | None = None
    """Whether each row was truncated, so that the model saw only its beginning; `None` if rows have no lengths."""

    def __len__(self) -> int:
        return self.rows


def prediction_batch(task: MlTask, predictions: Predictions) -> pa.RecordBatch:
    """The columns that the model fills, in order and with their declared types; null in failed rows."""
    by_hooks = dict(task.typed_hook_columns)
    kinds = {column.name: arrow_type(column.type) for column in task.output_columns if column.name not in by_hooks}
    found = {f"{task.output_prefix}{name}": column for name, column in predictions.columns.items()}
    arrays = []
    for name, kind in kinds.items():
        column = found.get(name)
        if column is None:
            column = pa.nulls(predictions.rows, kind)
        elif not pa.types.is_dictionary(column.type):  # classes stay encoded until written: faster to count and join
            column = column.cast(kind)
        arrays.append(column)
    return mark_failed(pa.RecordBatch.from_arrays(arrays, names=list(kinds)), task, predictions.failures)


def mark_failed(batch: pa.RecordBatch, task: MlTask, failures: dict[int, RowFailure]) -> pa.RecordBatch:
    """`batch` with the failure's text in the error column of failed rows, and null in their other output columns."""
    if not failures:
        return batch
    failed_N = np.zeros(batch.num_rows, dtype=bool)
    failed_N[list(failures)] = True
    mask = pa.array(failed_N)
    texts = scatter(
        [(np.array(list(failures)), pa.array([failure.text for failure in failures.values()], pa.string()))],
        batch.num_rows,
        pa.string(),
    )
    added = {column.name for column in task.output_columns}
    arrays = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name == task.error_column:
            arrays.append(pc.if_else(mask, texts, column))
        elif name in added and pa.types.is_dictionary(column.type):
            indices = pc.if_else(mask, pa.scalar(None, column.indices.type), column.indices)
            arrays.append(pa.DictionaryArray.from_arrays(indices, column.dictionary))
        elif name in added:
            arrays.append(pc.if_else(mask, pa.scalar(None, column.type), column))
        else:
            arrays.append(column)
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def without_dictionaries(batch: pa.RecordBatch) -> pa.RecordBatch:
    """`batch` with dictionary-encoded columns decoded, for a user's code."""
    if not any(pa.types.is_dictionary(kind) for kind in batch.schema.types):
        return batch
    return pa.RecordBatch.from_arrays(
        [
            column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
            for column in batch.columns
        ],
        names=batch.schema.names,
    )

"""A model's predictions, as columns.

Shapes: N rows, C classes, E embedding width.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sparktorch_assets.predict.failures import RowFailure, Rows
from sparktorch_assets.predict.schema import ARROW_TYPES
from sparktorch_assets.tasks.ml_task import MlTask


@dataclass(kw_only=True, slots=True)
class Predictions:
    """Predictions of N rows. Rows in `failures` have no prediction, whatever the arrays hold for them."""

    classes_N: pa.Array
    """The predicted classes, as strings or dictionary-encoded strings."""
    confidence_N: npt.NDArray[np.float32]
    columns: dict[str, pa.Array] = field(default_factory=dict)
    """Further columns by their final names: scores, embedding, and columns that a user's model object adds."""
    failures: dict[int, RowFailure] = field(default_factory=dict)
    truncated_N: npt.NDArray[np.bool_] | None = None
    """Whether each row was truncated, so that the model saw only its beginning; `None` if rows have no lengths."""

    def __len__(self) -> int:
        return len(self.confidence_N)


def float_lists(values_NE: npt.NDArray[np.float32]) -> pa.Array:
    """A `list<float>` array with one list per row, sharing the values' memory."""
    rows, width = values_NE.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * width
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(values_NE).ravel(), pa.float32()))


def scatter(pieces: list[tuple[Rows, pa.Array]], rows: int, kind: pa.DataType) -> pa.Array:
    """One array of `rows` values from pieces with their row numbers; null in rows that no piece covers."""
    if not pieces:
        return pa.nulls(rows, kind)
    positions = np.concatenate([where for where, _ in pieces])
    joined = pa.concat_arrays([values.cast(kind) for _, values in pieces])
    return pc.scatter(joined, pa.array(positions), max_index=rows - 1)


def prediction_batch(task: MlTask, predictions: Predictions) -> pa.RecordBatch:
    """The columns that the model fills, in order and with their declared types; null in failed rows."""
    rows = len(predictions)
    by_hooks = dict(task.typed_hook_columns)
    kinds = {column.name: ARROW_TYPES[column.type] for column in task.output_columns if column.name not in by_hooks}
    found = {
        task.class_column: predictions.classes_N,
        task.confidence_column: pa.array(predictions.confidence_N, pa.float32()),
        **predictions.columns,
    }
    arrays = [
        found[name]
        if name == task.class_column  # dictionary-encoded until it is written: faster to count and join
        else found[name].cast(kind)
        if name in found
        else pa.nulls(rows, kind)
        for name, kind in kinds.items()
    ]
    return mark_failed(pa.RecordBatch.from_arrays(arrays, names=list(kinds)), task, predictions.failures)


def mark_failed(batch: pa.RecordBatch, task: MlTask, failures: dict[int, RowFailure]) -> pa.RecordBatch:
    """`batch` with the failure's text in the error column of failed rows, and null in their other output columns."""
    if not failures:
        return batch
    failed_N = np.zeros(batch.num_rows, dtype=bool)
    failed_N[list(failures)] = True
    mask = pa.array(failed_N)
    texts = pa.array([failures[row].text if failed else None for row, failed in enumerate(failed_N)], pa.string())
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

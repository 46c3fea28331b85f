"""Predicts a pandas DataFrame, or rows as dicts, in this process: for notebooks. Importing this loads neither torch nor
pandas."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, overload

import pyarrow as pa

from sparktorch_assets.errors import InputSchemaError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.partition import ROWS_PER_BATCH, predict_map
from sparktorch_assets.predict.rows.convert import MISFIT
from sparktorch_assets.predict.rows.filter import BatchFilter
from sparktorch_assets.predict.schema import output_schema
from sparktorch_assets.tasks.ml_task import MlTask
from sparktorch_assets.tasks.slot_policy import SlotPolicy

if TYPE_CHECKING:
    import pandas as pd

_PLACE = "\0place"
"""A column of row numbers; no table's column has such a name."""


@overload
def predict_frame(
    frame: "pd.DataFrame",
    ml_task: MlTask | str,
    batch_size: int | None = None,
    *,
    model_loader: ModelLoader | None = None,
    slots: SlotPolicy | None = None,
) -> "pd.DataFrame": ...


@overload
def predict_frame(
    frame: Iterable[Mapping[str, Any]],
    ml_task: MlTask | str,
    batch_size: int | None = None,
    *,
    model_loader: ModelLoader | None = None,
    slots: SlotPolicy | None = None,
) -> Iterator[dict[str, Any]]: ...


def predict_frame(
    frame: "pd.DataFrame | Iterable[Mapping[str, Any]]",
    ml_task: MlTask | str,
    batch_size: int | None = None,
    *,
    model_loader: ModelLoader | None = None,
    slots: SlotPolicy | None = None,
) -> "pd.DataFrame | Iterator[dict[str, Any]]":
    """Predict the rows of a DataFrame, without Spark.

    Args:
        frame: a DataFrame; what pandas takes for missing, NaN included, is a null. Or an iterable of dicts, for which
            the result is an iterator of dicts, predicted as it is read.
        ml_task: the task, or the name of one that `model_loader` knows.
        batch_size: rows per forward pass; `None` uses the task's policy or, if that sets no size, the size found to be
            fastest.
        model_loader: brings the model up; `None` looks for weights under `data/models`.
        slots: the device policy, as for `LocalPredictor`.

    Returns:
        The columns and rows that a prediction table would hold, in the frame's order. Without hooks, the frame's own
        columns are unchanged, and the index is that of the rows that the task's `where` keeps. Hooks may drop and
        change rows; with them, the rows are numbered from 0.

    Raises:
        InputSchemaError: a column is missing, has values of several types, or has a type that its feature cannot use.
        ModelError, DeviceError, UnknownTaskError: the task cannot run here.
    """
    import pandas as pd

    loader, task = (model_loader or ModelLoader()).settled(ml_task)
    if not isinstance(frame, pd.DataFrame):
        return predict_map(0, frame, task, batch_size, model_loader=loader, slots=slots)
    batch = _to_arrow(frame)
    schema = output_schema(task, batch.schema)
    numbered = batch.append_column(_PLACE, pa.array(range(batch.num_rows), pa.int64()))
    kept = BatchFilter(task.where, f"task {task.name!r}").rows(numbered)
    rows = kept.drop_columns([_PLACE])
    parts = [rows.slice(start, ROWS_PER_BATCH) for start in range(0, rows.num_rows, ROWS_PER_BATCH)]
    predicted = predict_map(0, parts, task, batch_size, model_loader=loader, slots=slots)
    found: pd.DataFrame = _to_pandas(pa.Table.from_batches(predicted, schema))
    if task.hooks.preprocesses or task.hooks.postprocesses:
        return found
    own = frame.iloc[kept.column(_PLACE).to_numpy()]
    columns = [own[name] for name in task.kept_columns(batch.schema.names)]
    added = found[[column.name for column in task.output_columns]].set_axis(own.index)
    joined: pd.DataFrame = pd.concat([*columns, added], axis=1)
    return joined


def _to_arrow(frame: "pd.DataFrame") -> pa.RecordBatch:
    names = list(frame.columns)
    odd = [name for name in names if not isinstance(name, str)]
    if odd or len(set(names)) < len(names):
        what = f"a column whose name is no string ({odd[0]!r})" if odd else "two columns of one name"
        raise InputSchemaError(f"the frame has {what}, and so could be no table; rename its columns")
    return pa.RecordBatch.from_arrays([_column_to_arrow(name, frame[name]) for name in names], names=names)


def _column_to_arrow(name: str, values: "pd.Series[Any]") -> pa.Array:
    try:
        if any(getattr(value, "ndim", 1) > 1 for value in values[:1]):  # Arrow takes arrays of one dimension as lists
            values = values.map(lambda value: value.tolist() if hasattr(value, "tolist") else value)
        found = pa.Array.from_pandas(values)
    except MISFIT as error:
        raise InputSchemaError(f"column {name!r} of the frame holds values of several types ({error})") from error
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _to_pandas(table: pa.Table) -> "pd.DataFrame":
    import pandas as pd

    from sparktorch_assets.predict.rows.pandas_columns import to_pandas

    columns: list[pd.Series[Any]] = [to_pandas(column.combine_chunks()) for column in table.columns]
    return pd.DataFrame(dict(enumerate(columns))).set_axis(table.column_names, axis=1)

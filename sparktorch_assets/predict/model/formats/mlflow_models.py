"""Brings up MLflow models: those of its PyTorch flavor that bring modules along, and those of any other flavor.

Both are factories, to which the trust rule applies. Nothing is installed: a model runs with the packages that are here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from sparktorch_assets.errors import ModelError
from sparktorch_assets.stores.mlflow_package import load_mlflow

if TYPE_CHECKING:
    import torch


def load_pytorch(path: Path, _device: "torch.device") -> "torch.nn.Module":
    """The network of an MLflow folder with the flavor `pytorch`, loaded by MLflow on the CPU."""
    network: torch.nn.Module = load_mlflow("mlflow.pytorch").load_model(str(path.resolve()), map_location="cpu")
    return network.requires_grad_(requires_grad=False)


def load_pyfunc(path: Path, _device: "torch.device", columns: Sequence[str]) -> "PyfuncModel":
    """The model of an MLflow folder with the flavor `python_function`; `columns` are those that the task wants of it."""
    return PyfuncModel(load_mlflow("mlflow.pyfunc").load_model(str(path.resolve()), suppress_warnings=True), columns)


class PyfuncModel:
    """A model object around a pyfunc model.

    It is given the columns of its signature, with their Arrow types as pandas has them, so that it answers what
    `mlflow.pyfunc.load_model(...).predict` answers; a model without a signature is given every column.

    Args:
        model: what `mlflow.pyfunc.load_model` returned.
        columns: the columns that the task wants. One without a name is taken for the first of them.
    """

    def __init__(self, model: Any, columns: Sequence[str]) -> None:
        self._model, self._columns = model, tuple(columns)
        schema = model.metadata.get_input_schema()
        self._inputs: tuple[str, ...] | None = None
        self._optional: set[str] = set()
        self._tensors = schema is not None and bool(schema.is_tensor_spec())
        if schema is not None:
            self._inputs = tuple(schema.input_names())
            self._optional = set(schema.optional_input_names())
            if not self._inputs and not self._tensors:
                raise ModelError(
                    "the MLflow model's signature names no columns, so it is not known which column is what; log it with a "
                    "signature of a DataFrame"
                )

    def predict(self, rows: list[dict[str, Any]], /) -> Iterable[Mapping[str, Any]]:
        """One dict per row."""
        found: list[dict[str, Any]] = self.predict_batch(pa.RecordBatch.from_pylist(rows)).to_pylist()
        return found

    def predict_batch(self, batch: pa.RecordBatch, /) -> pa.RecordBatch:
        """As many rows, with the columns that the task wants and the model returns."""
        found = self._model.predict(self._given(batch))
        columns = dict(self._named(found))
        missing = [name for name in self._columns if name not in columns]
        if missing:
            raise ModelError(
                f"the MLflow model returns {_names_in(found)}, and the task wants {', '.join(self._columns)}, so "
                f"{', '.join(missing)} would be empty; declare `output: {{kind: columns, columns: {{<name>: <type>}}}}` with the "
                f"names that it returns, and no labels"
            )
        return pa.RecordBatch.from_pydict(columns)

    def _given(self, batch: pa.RecordBatch) -> Any:
        """What the model is given: a DataFrame, or a dict of arrays for a signature of tensors."""
        if self._inputs is None:
            return batch.to_pandas()
        there = set(batch.schema.names)
        missing = [name for name in self._inputs if name not in there and name not in self._optional]
        if missing:
            raise ModelError(
                f"the MLflow model's signature names the input {missing[0]!r}, which the rows do not have; they have "
                f"{', '.join(batch.schema.names[:20])}. Rename a column with a batch_preprocessor, or log another signature"
            )
        chosen = batch.select([name for name in self._inputs if name in there])
        if not self._tensors:
            return chosen.to_pandas()
        return {name: _stacked(chosen.column(name)) for name in chosen.schema.names}

    def _named(self, found: Any) -> Iterator[tuple[str, Any]]:
        import pandas as pd

        if isinstance(found, pd.DataFrame) and not set(self._columns) & set(found.columns) and found.shape[1] == 1:
            found = found.iloc[:, 0]
        if isinstance(found, pd.DataFrame | Mapping):
            for name in found:
                if name in self._columns:
                    yield str(name), _column(found[name])
            return
        yield self._columns[0], _column(found)


def _names_in(found: Any) -> str:
    """What a model has returned, for messages: the names of its columns, none of its values."""
    import pandas as pd

    if isinstance(found, pd.DataFrame | Mapping):
        return f"the columns {', '.join(map(str, list(found)[:20])) or '(none)'}"
    return f"one column without a name ({type(found).__name__})"


def _stacked(column: pa.Array) -> "np.ndarray[Any, Any]":
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type) or pa.types.is_large_list(column.type):
        return np.stack([np.asarray(value) for value in column.to_pylist()])
    values: np.ndarray[Any, Any] = column.to_numpy(zero_copy_only=False)
    return values


def _column(values: Any) -> pa.Array:
    import pandas as pd

    if isinstance(values, pd.Series):
        return pa.Array.from_pandas(values)
    values = np.asarray(values)
    if values.ndim > 1 and values.shape[1] == 1:  # (B, 1): one number per row
        values = values[:, 0]
    return pa.array(values.tolist() if values.ndim > 1 else values)

"""The types of what users bring along: model objects and encoders. Importing this does not load torch."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

if TYPE_CHECKING:
    import torch


class ModelObject(Protocol):
    """A model of your own, which predicts rows.

    `ModelSpec.factory` may name a callable that returns one instead of a `torch.nn.Module`, and a subclass of
    `ModelLoader` may return one from `load_module` or `bring_up_model`. The methods are called from one thread.
    """

    def predict(self, rows: list[dict[str, Any]], /) -> Iterable[Mapping[str, Any]]:
        """Predict rows; usually a generator.

        Args:
            rows: the columns of each row, as plain Python values.

        Returns:
            One row per input row, in order, with `predicted_class` (one of the task's labels; `None` fails the row) and
            `confidence` (in [0, 1]), and with the other columns of the task's output. Other columns are ignored. If
            this raises, it is called again with fewer rows, to find those that fail.
        """
        ...


class BatchModelObject(ModelObject, Protocol):
    """A model of your own that also predicts record batches, which saves the conversion of every row to a dict."""

    def predict_batch(self, batch: pa.RecordBatch, /) -> pa.RecordBatch | pa.Table:
        """Predict a record batch; preferred to `predict`.

        Returns:
            As many rows, in order, with the columns that `predict` adds to its rows.
        """
        ...


class Encoder(Protocol):
    """An encoder of your own. `CustomFeature.encoder` names a callable that returns one, such as a class whose instances
    can be called; it is called once per process."""

    def __call__(self, batch: pa.RecordBatch, /) -> "torch.Tensor | tuple[torch.Tensor, ...] | pa.ListArray":
        """Encode rows.

        Args:
            batch: the feature's `columns`, B rows.

        Returns:
            One argument of `forward`, or several: tensors whose first dimension is B. If the feature declares
            `sequences`, a `pyarrow.ListArray` of B lists of numbers. If this raises, it is called again with fewer
            rows, to find those that fail.
        """
        ...

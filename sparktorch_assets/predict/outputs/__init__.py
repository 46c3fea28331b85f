"""What becomes of a network's tensors: one decoder per kind of output, the counterparts of `tasks/outputs`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sparktorch_assets.predict.outputs.classification import ClassificationDecoder
from sparktorch_assets.predict.outputs.columns import ColumnsDecoder
from sparktorch_assets.predict.outputs.decoder import Decoder
from sparktorch_assets.predict.outputs.detection import DetectionDecoder
from sparktorch_assets.predict.outputs.embedding import EmbeddingDecoder
from sparktorch_assets.predict.outputs.multilabel import MultilabelDecoder
from sparktorch_assets.predict.outputs.regression import RegressionDecoder
from sparktorch_assets.predict.outputs.token_classification import TokenClassificationDecoder
from sparktorch_assets.tasks.ml_task import MlTask

__all__ = ["Decoder", "make_decoder"]

_DECODERS: Mapping[str, Callable[[Any, Sequence[str], str], Decoder]] = {
    "classification": ClassificationDecoder,
    "columns": ColumnsDecoder,
    "detection": DetectionDecoder,
    "embedding": EmbeddingDecoder,
    "multilabel": MultilabelDecoder,
    "regression": RegressionDecoder,
    "token_classification": TokenClassificationDecoder,
}


def make_decoder(task: MlTask) -> Decoder:
    """The decoder of the task's output."""
    return _DECODERS[task.output.kind](task.output, task.labels, f"task {task.name!r}")

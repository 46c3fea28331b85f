"""What becomes of a network's tensors: one decoder per kind of output, the counterparts of `tasks/outputs`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sparktorch_assets.predict.outputs.classification import ClassificationDecoder
from sparktorch_assets.predict.outputs.columns import ColumnsDecoder
from sparktorch_assets.predict.outputs.decoder import Decoder, ToTexts
from sparktorch_assets.predict.outputs.detection import DetectionDecoder
from sparktorch_assets.predict.outputs.embedding import EmbeddingDecoder
from sparktorch_assets.predict.outputs.generation import GenerationDecoder
from sparktorch_assets.predict.outputs.multilabel import MultilabelDecoder
from sparktorch_assets.predict.outputs.regression import RegressionDecoder
from sparktorch_assets.predict.outputs.token_classification import TokenClassificationDecoder
from sparktorch_assets.tasks.ml_task import MlTask
from sparktorch_assets.tasks.outputs import GenerationOutput

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


def make_decoder(task: MlTask, to_texts: ToTexts | None = None) -> Decoder:
    """The decoder of the task's output.

    Args:
        task: the task.
        to_texts: turns token ids into texts, as the task's tokenizer does, for outputs that are texts; only a network's
            results need it.
    """
    where = f"task {task.name!r}"
    if isinstance(task.output, GenerationOutput):  # the only one that needs a tokenizer
        return GenerationDecoder(task.output, where, to_texts)
    return _DECODERS[task.output.kind](task.output, task.labels, where)

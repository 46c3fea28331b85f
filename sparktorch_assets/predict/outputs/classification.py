"""Logits become a class, its probability, and what else a classification asks for.

Shapes: N rows of a window, B rows of a batch, C classes, E embedding width, K top classes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.arrow_lists import float_lists, scatter, slices_or
from sparktorch_assets.predict.failures import RowFailure
from sparktorch_assets.predict.outputs.decoder import Decoded, Forward, Outputs, not_finite
from sparktorch_assets.predict.outputs.result import find, tensor_of
from sparktorch_assets.tally import CONFIDENCE_BINS, Tally
from sparktorch_assets.tasks.output_checks import ONE_LABEL
from sparktorch_assets.tasks.outputs import ClassificationOutput

if TYPE_CHECKING:
    import torch

_TOP_TYPE = pa.list_(pa.struct([("class", pa.string()), ("confidence", pa.float32())]))


class ClassificationDecoder:
    """Softmax over the labels."""

    def __init__(self, output: ClassificationOutput, labels: Sequence[str], where: str) -> None:
        self._output, self._labels, self._where = output, tuple(labels), where
        shown = [*labels, *([output.below] if output.below is not None else [])]
        self._classes = pa.array(shown, pa.string())

    def tensors(self, forward: Forward) -> "dict[str, torch.Tensor]":
        """`classes` int64 (B,); `confidence` float32 (B,), NaN for rows with a logit that is not finite; and, if they are
        asked for, `scores` (B, C), `embedding` (B, E), `top` int64 (B, K) and `top_confidence` (B, K)."""
        import torch

        output = self._output
        logits_BC = self._logits(forward)[: forward.rows]
        highest_B, class_index_B = logits_BC.max(dim=1)
        # The winner's softmax probability alone: with few classes, a full softmax would be the slowest step.
        confidence_B = (logits_BC - highest_B[:, None]).exp_().sum(dim=1).reciprocal_()
        # A row's NaN and +inf have made its confidence NaN by now, unlike -inf, and 0 x -inf is NaN, which marks the row.
        confidence_B.add_(logits_BC.amin(dim=1), alpha=0.0)
        found = {"classes": class_index_B, "confidence": confidence_B}
        if output.scores:
            found["scores"] = logits_BC.softmax(dim=1)
        if output.top_k is not None:
            # Of equal logits, `topk` may choose others than `max`: the predicted class comes first.
            marked_BC = logits_BC.scatter(1, class_index_B[:, None], torch.inf)
            found["top"] = marked_BC.topk(output.top_k, dim=1).indices
            found["top_confidence"] = logits_BC.softmax(dim=1).gather(1, found["top"])
        if output.embedding:
            found["embedding"] = self._embedding(forward)
        return found

    def columns(self, outputs: Sequence[Outputs], window_rows: int) -> Decoded:
        """The class, dictionary-encoded, and the other columns."""
        output = self._output
        index_N = np.zeros(window_rows, dtype=np.int32)
        confidence_N = np.full(window_rows, np.nan, dtype=np.float32)
        for rows, found in outputs:
            place = slices_or(rows)
            index_N[place] = found["classes"]
            confidence_N[place] = found["confidence"]
        failures = not_finite(np.isnan(confidence_N), "logits")
        if output.embedding:
            odd_N = np.zeros(window_rows, dtype=bool)
            for rows, found in outputs:
                odd_N[slices_or(rows)] = ~np.isfinite(found["embedding"]).all(axis=1)
            failures = not_finite(odd_N, "components of its embedding") | failures
        if output.threshold is not None:
            index_N[confidence_N < output.threshold] = len(self._labels)
        columns: dict[str, pa.Array] = {
            "predicted_class": pa.DictionaryArray.from_arrays(pa.array(index_N, pa.int32()), self._classes),
            "confidence": pa.array(confidence_N, pa.float32()),
        }
        for name in [column.name for column in output.optional_columns if column.name != "top"]:
            pieces = [(rows, float_lists(found[name])) for rows, found in outputs]
            columns[name] = scatter(pieces, window_rows, pa.list_(pa.float32()))
        if output.top_k is not None:
            pieces = [(rows, self._top(found)) for rows, found in outputs]
            columns["top"] = scatter(pieces, window_rows, _TOP_TYPE)
        return Decoded(columns=columns, failures=failures)

    def compare(self, reference: Forward, found: Forward) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """By class and confidence."""
        one = self._logits(reference)[: reference.rows].softmax(dim=1)
        other = self._logits(found)[: found.rows].softmax(dim=1)
        finite = one.isfinite().all(dim=1), other.isfinite().all(dim=1)
        both = finite[0] & finite[1]
        difference = (one.amax(dim=1) - other.amax(dim=1)).abs().masked_fill(~both, 0.0)
        return finite[0] | finite[1], both & (one.argmax(dim=1) == other.argmax(dim=1)), difference

    def check_answers(self, columns: Mapping[str, pa.Array]) -> dict[int, RowFailure]:
        """Rows without a class or a confidence, or with a confidence outside [0, 1]."""
        failures: dict[int, RowFailure] = {}
        for row in np.flatnonzero(columns["predicted_class"].is_null().to_numpy(zero_copy_only=False)):
            failures[int(row)] = RowFailure("forward", "NoClass", "the model gave no predicted_class")
        for row in np.flatnonzero(columns["confidence"].is_null().to_numpy(zero_copy_only=False)):
            reason = "the model gave no confidence; without one, declare the output columns instead of labels"
            failures.setdefault(int(row), RowFailure("forward", "NoConfidence", reason))
        confidence_N = columns["confidence"].to_numpy(zero_copy_only=False).astype(np.float32)
        for row in np.flatnonzero(~((confidence_N >= 0) & (confidence_N <= 1))):
            failures.setdefault(int(row), RowFailure("forward", "BadConfidence", "confidence is not in [0, 1]"))
        return failures

    def count(self, column: Callable[[str], pa.Array], tally: Tally) -> None:
        """Rows per class, and confidences."""
        for name, rows in _class_counts(column("predicted_class").drop_null()):
            tally.classes[name] = tally.classes.get(name, 0) + rows
        confidence = column("confidence").drop_null().to_numpy(zero_copy_only=False)
        if not (confidence.min(initial=0) >= 0 and confidence.max(initial=0) <= 1):
            # Values outside [0, 1] go into no bin: the check on the range of confidences counts the missing ones.
            confidence = confidence[(confidence >= 0) & (confidence <= 1)]
        tally.confidence_sum += float(confidence.sum(dtype=np.float64))
        bins = (confidence * CONFIDENCE_BINS).astype(np.intp)
        *counts, ones = np.bincount(bins, minlength=CONFIDENCE_BINS + 1).tolist()
        counts[-1] += ones  # the last bin includes its upper end, 1.0
        tally.confidence_histogram = [a + b for a, b in zip(tally.confidence_histogram, counts, strict=True)]

    def _logits(self, forward: Forward) -> "torch.Tensor":
        """Logits (B, C) in float32, checked against the labels; B counts the filling rows as well."""
        import torch

        rows, labels = forward.computed, len(self._labels)
        if labels == 1:
            raise ModelError(f"{self._where}: labels={list(self._labels)!r} {ONE_LABEL}")
        logits = tensor_of(find(forward.result, ["logits"]), self._where, "logits must be a tensor (B, C)")
        logits_BC = logits.float()
        if labels == 2 and logits_BC.shape in ((rows,), (rows, 1)):
            logits_BC = torch.stack([torch.zeros_like(logits_BC.view(rows)), logits_BC.view(rows)], dim=1)
        if logits_BC.shape != (rows, labels):
            raise ModelError(
                f"{self._where}: the model returned logits of shape {tuple(logits.shape)} for {rows} rows and {labels} "
                f"labels; expected ({rows}, {labels}). Declare one label per logit, in the model's order"
            )
        return logits_BC

    def _embedding(self, forward: Forward) -> "torch.Tensor":
        import torch

        embedding = find(forward.result, ["embedding"], 1)
        if not isinstance(embedding, torch.Tensor) or embedding.ndim != 2 or len(embedding) < forward.rows:
            shape = tuple(embedding.shape) if isinstance(embedding, torch.Tensor) else type(embedding).__name__
            raise ModelError(
                f"{self._where} asks for `embedding`, but forward returned {shape} in addition to its logits; return "
                f"(logits, embedding) with an embedding of shape (B, E)"
            )
        return embedding[: forward.rows].to(torch.float32, copy=True)

    def _top(self, found: Mapping[str, npt.NDArray[Any]]) -> pa.Array:
        index_BK, confidence_BK = found["top"], found["top_confidence"]
        rows, width = index_BK.shape
        entries = pa.StructArray.from_arrays(
            [
                self._classes.take(pa.array(index_BK.ravel())),
                pa.array(np.ascontiguousarray(confidence_BK).ravel(), pa.float32()),
            ],
            names=["class", "confidence"],
        )
        offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * width)
        return pa.ListArray.from_arrays(offsets, entries)


def _class_counts(classes: pa.Array) -> list[tuple[str, int]]:
    if pa.types.is_dictionary(classes.type):
        rows_by_index = np.bincount(classes.indices.to_numpy(), minlength=len(classes.dictionary))
        return [
            (name, rows)
            for name, rows in zip(classes.dictionary.to_pylist(), rows_by_index.tolist(), strict=True)
            if rows
        ]
    return [(item["values"].as_py(), item["counts"].as_py()) for item in pc.value_counts(classes)]

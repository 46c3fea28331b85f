"""Logits become the labels whose sigmoid reaches a threshold.

Shapes: N rows of a window, B rows of a batch, C labels.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.arrow_lists import float_lists, odd_lists, scatter
from sparktorch_assets.predict.failures import RowFailure
from sparktorch_assets.predict.outputs.decoder import Decoded, Forward, Outputs, not_finite
from sparktorch_assets.predict.outputs.label_counts import count_labels, is_outside
from sparktorch_assets.predict.outputs.numbers import count_numbers, mark
from sparktorch_assets.predict.outputs.result import find, tensor_of
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.outputs import MultilabelOutput
from sparktorch_assets.tasks.outputs.label_checks import OUTSIDE
from sparktorch_assets.tasks.outputs.multilabel import WITHOUT_LABEL

if TYPE_CHECKING:
    import torch

_SCORES = pa.list_(pa.float32())


class MultilabelDecoder:
    """A sigmoid and a threshold per label."""

    def __init__(self, output: MultilabelOutput, labels: Sequence[str], where: str) -> None:
        self._where, self._labels = where, pa.array(labels, pa.string())
        limits = output.label_thresholds
        self._limits_C = np.array([limits.get(label, output.threshold) for label in labels], dtype=np.float32)

    def tensors(self, forward: Forward) -> "dict[str, torch.Tensor]":
        """`scores` float32 (B, C), NaN for logits that are not finite."""
        logits_BC = self._logits(forward)[: forward.rows]
        # 0 x (NaN or infinity) is NaN: the sigmoid of infinity alone would be a score of 1.
        return {"scores": logits_BC.sigmoid() + logits_BC * 0.0}

    def columns(self, outputs: Sequence[Outputs], window_rows: int) -> Decoded:
        """The labels and the scores."""
        missing = np.zeros(window_rows, dtype=bool)
        labels, scores = [], []
        for rows, found in outputs:
            scores_BC = found["scores"]
            missing[rows] = ~np.isfinite(scores_BC).all(axis=1)
            chosen_BC = scores_BC >= self._limits_C
            offsets = np.concatenate([[0], np.cumsum(chosen_BC.sum(axis=1))]).astype(np.int32)
            names = self._labels.take(pa.array(np.nonzero(chosen_BC)[1]))
            labels.append((rows, pa.ListArray.from_arrays(pa.array(offsets), names)))
            scores.append((rows, float_lists(scores_BC)))
        return Decoded(
            columns={
                "predicted_labels": scatter(labels, window_rows, pa.list_(pa.string())),
                "scores": scatter(scores, window_rows, _SCORES),
            },
            failures=not_finite(missing, "logits"),
        )

    def compare(self, reference: Forward, found: Forward) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """By the set of labels, and the largest difference of a score."""
        import torch

        limits_C = torch.from_numpy(self._limits_C).to(self._logits(found).device)
        one, other = (self.tensors(forward)["scores"] for forward in (reference, found))
        finite = one.isfinite().all(dim=1), other.isfinite().all(dim=1)
        both = finite[0] & finite[1]
        difference = (one - other).abs().amax(dim=1).masked_fill(~both, 0.0)
        return finite[0] | finite[1], both & ((one >= limits_C) == (other >= limits_C)).all(dim=1), difference

    def check_answers(self, columns: Mapping[str, pa.Array]) -> dict[int, RowFailure]:
        """Rows without a list of labels, or with a null among them, or with scores that are not one number per label. A
        model object need not give scores."""
        none, scores = odd_lists(columns["predicted_labels"]), columns["scores"]
        lengths = pc.list_value_length(scores).fill_null(len(self._labels)).to_numpy(zero_copy_only=False)
        odd = (odd_lists(scores) & scores.is_valid().to_numpy(zero_copy_only=False)) | (lengths != len(self._labels))
        text = f"the model gave other scores than {len(self._labels)} finite numbers"
        failures = {int(row): RowFailure("forward", "NoScores", text) for row in np.flatnonzero(odd)}
        missing = RowFailure("forward", "NoLabels", "the model gave no predicted_labels, or a null among them")
        return failures | {int(row): missing for row in np.flatnonzero(none)}

    def count(self, column: Callable[[str], pa.Array], tally: Tally) -> None:
        """Rows per label, labels per row, rows without a label, and scores outside [0, 1]."""
        labels = column("predicted_labels").drop_null()
        count_labels(labels.flatten(), tally)
        lengths = pc.list_value_length(labels).to_numpy(zero_copy_only=False)
        mark(WITHOUT_LABEL, int((lengths == 0).sum()), tally)
        count_numbers("labels per row", lengths.astype(np.float64), tally)
        scores = column("scores").drop_null().flatten().to_numpy(zero_copy_only=False)
        mark(OUTSIDE, int(is_outside(scores).sum()), tally)

    def _logits(self, forward: Forward) -> "torch.Tensor":
        shape = (forward.computed, len(self._labels))
        logits = tensor_of(find(forward.result, ["logits"]), self._where, "logits must be a tensor (B, C)")
        if logits.shape != shape:
            raise ModelError(
                f"{self._where}: the model returned logits of shape {tuple(logits.shape)} for {shape[0]} rows and "
                f"{shape[1]} labels; expected {shape}. Declare one label per logit, in the model's order"
            )
        return logits.float()

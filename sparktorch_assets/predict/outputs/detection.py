"""Logits and relative boxes become labelled boxes in pixels of the original image.

Shapes: B rows of a batch, Q queries, C labels, K best boxes of a row.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparktorch_assets.arrow_types import arrow_type
from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.arrow_lists import scatter
from sparktorch_assets.predict.failures import RowFailure
from sparktorch_assets.predict.outputs.decoder import Decoded, Forward, Outputs, not_finite
from sparktorch_assets.predict.outputs.entries import count_entries, entry_lists, numbers_of, odd_entries
from sparktorch_assets.predict.outputs.result import find, tensor_of
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.outputs import DetectionOutput

if TYPE_CHECKING:
    import torch

_SAME_SIDE = 0.01
"""Boxes count as the same if no side is farther away than this share of the image."""
_SIDES = ("x_min", "y_min", "x_max", "y_max")


class DetectionDecoder:
    """The best boxes of DETR and its relatives, as `post_process_object_detection` of transformers' image processors
    makes them."""

    def __init__(self, output: DetectionOutput, labels: Sequence[str], where: str) -> None:
        self._output, self._where = output, where
        self._softmax = output.scoring != "sigmoid"
        self._kind = arrow_type(output.main_columns[0].type)
        self._labels = pa.array(labels, pa.string())

    def tensors(self, forward: Forward) -> "dict[str, torch.Tensor]":
        """`scores` float32 (B, K), highest first, `labels` int64 (B, K) and `boxes` float32 (B, K, 4); and `finite`
        (B,), whether all logits and boxes of a row are."""
        scores_BQC, boxes_BQ4, finite_B = self._found(forward)
        if self._softmax:  # one box per query
            scores_BX, labels_BX = scores_BQC.max(dim=2)
            per_query = 1
        else:
            per_query = scores_BQC.shape[2]
            scores_BX = scores_BQC.flatten(1)
            labels_BX = None
        scores_BK, places_BK = scores_BX.topk(min(self._output.max_boxes, scores_BX.shape[1]), dim=1)
        labels_BK = places_BK % per_query if labels_BX is None else labels_BX.gather(1, places_BK)
        queries_BK4 = (places_BK // per_query)[:, :, None].expand(-1, -1, 4)
        return {
            "scores": scores_BK,
            "labels": labels_BK,
            "boxes": boxes_BQ4.gather(1, queries_BK4),
            "finite": finite_B,
        }

    def columns(self, outputs: Sequence[Outputs], window_rows: int) -> Decoded:
        """The boxes."""
        missing = np.zeros(window_rows, dtype=bool)
        pieces = []
        for rows, found in outputs:
            missing[rows] = ~found["finite"]
            pieces.append((rows, self._boxes(found)))
        return Decoded(
            columns={"boxes": scatter(pieces, window_rows, self._kind)},
            failures=not_finite(missing, "logits or boxes"),
        )

    def compare(self, reference: Forward, found: Forward) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """By the labels and places of the boxes that are predicted, and the largest difference of a score. Places that
        differ by 1 % of the image count as the same."""
        (one_BQC, one_BQ4, one_B), (other_BQC, other_BQ4, other_B) = self._found(reference), self._found(found)
        both = one_B & other_B
        difference = (one_BQC - other_BQC).abs().amax(dim=(1, 2)).masked_fill(~both, 0.0)
        shown, other_shown = (self._shown(scores) for scores in (one_BQC, other_BQC))
        moved_BQ = (_corners(one_BQ4) - _corners(other_BQ4)).abs().amax(dim=2) > _SAME_SIDE
        same = (shown == other_shown).all(dim=(1, 2)) & ~(moved_BQ & shown.any(dim=2)).any(dim=1)
        return one_B | other_B, both & same, difference

    def check_answers(self, columns: Mapping[str, pa.Array]) -> dict[int, RowFailure]:
        """Rows without a list of complete boxes that can lie in an image."""
        failure = RowFailure(
            "forward", "NoBoxes", "the model gave no boxes, or one that lacks a field or cannot lie in an image"
        )
        return dict.fromkeys(np.flatnonzero(odd_entries(columns["boxes"], _misplaced)).tolist(), failure)

    def count(self, column: Callable[[str], pa.Array], tally: Tally) -> None:
        """Boxes per label and per row, and their scores."""
        count_entries(column("boxes"), self._output, _misplaced, tally)

    def _shown(self, scores_BQC: "torch.Tensor") -> "torch.Tensor":
        """Which labels of which queries (B, Q, C) are predicted, apart from `max_boxes`."""
        shown = scores_BQC > self._output.min_score
        return shown & (scores_BQC == scores_BQC.amax(dim=2, keepdim=True)) if self._softmax else shown

    def _boxes(self, found: Mapping[str, npt.NDArray[Any]]) -> pa.Array:
        """The column of these rows; empty lists for rows that fail."""
        chosen_BK = (found["scores"] > self._output.min_score) & found["finite"][:, None]
        rows, places = np.nonzero(chosen_BK)
        x, y, width, height = found["boxes"][rows, places].T.astype(np.float64)
        seen_width, seen_height, left, top = found["origins"][rows].T
        sides = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        fields = {
            "label": self._labels.take(pa.array(found["labels"][rows, places])),
            "score": pa.array(found["scores"][rows, places]),
        }
        for name, relative in zip(_SIDES, sides, strict=True):
            scale, edge = (seen_width, left) if name.startswith("x") else (seen_height, top)
            fields[name] = pa.array((relative * scale + edge).astype(np.float32))
        return entry_lists(chosen_BK.sum(axis=1), fields, self._kind)

    def _found(self, forward: Forward) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """Scores (B, Q, C) without the class for no object, boxes (B, Q, 4), and whether all numbers of a row are
        finite (B,), of the rows that count."""
        what = "a detection needs logits (B, Q, C) and pred_boxes (B, Q, 4)"
        logits = tensor_of(find(forward.result, ["logits"]), self._where, what)
        boxes = tensor_of(find(forward.result, ["pred_boxes"], 1), self._where, what)
        width = len(self._labels) + self._softmax
        queries = logits.shape[1] if logits.ndim == 3 else "Q"
        expected = (forward.computed, queries, width), (forward.computed, queries, 4)
        if (tuple(logits.shape), tuple(boxes.shape)) != expected:
            counted = "and one for no object (scoring: softmax)" if self._softmax else "(scoring: sigmoid)"
            raise ModelError(
                f"{self._where}: the model returned logits of shape {tuple(logits.shape)} and boxes of shape "
                f"{tuple(boxes.shape)} for {forward.computed} rows and {len(self._labels)} labels; expected {expected[0]} "
                f"and {expected[1]}, with one logit per label {counted}"
            )
        logits_BQC, boxes_BQ4 = logits[: forward.rows].float(), boxes[: forward.rows].float()
        finite_B = logits_BQC.isfinite().all(dim=2).all(dim=1) & boxes_BQ4.isfinite().all(dim=2).all(dim=1)
        scores_BQC = logits_BQC.softmax(dim=2)[:, :, :-1] if self._softmax else logits_BQC.sigmoid()
        return scores_BQC, boxes_BQ4, finite_B


def _corners(boxes_BQ4: "torch.Tensor") -> "torch.Tensor":
    import torch

    centres, sizes = boxes_BQ4[..., :2], boxes_BQ4[..., 2:]
    return torch.cat([centres - sizes / 2, centres + sizes / 2], dim=-1)


def _misplaced(boxes: pa.Array) -> npt.NDArray[np.bool_]:
    """Which boxes end before they begin, or lie left of the image or above it."""
    x_min, y_min, x_max, y_max = (numbers_of(boxes, name) for name in _SIDES)
    found: npt.NDArray[np.bool_] = ~((x_max >= np.maximum(x_min, 0)) & (y_max >= np.maximum(y_min, 0)))
    return found

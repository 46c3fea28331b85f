"""Logits of tokens become labelled spans of the text.

Shapes: B rows of a batch, T tokens, C labels.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sparktorch_assets.arrow_types import arrow_type
from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.arrow_lists import scatter
from sparktorch_assets.predict.failures import RowFailure
from sparktorch_assets.predict.outputs.decoder import Decoded, Forward, Outputs, not_finite
from sparktorch_assets.predict.outputs.entries import count_entries, entry_lists, numbers_of, odd_entries
from sparktorch_assets.predict.outputs.result import find, tensor_of
from sparktorch_assets.predict.outputs.spans import Entities, Spans, words_of
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.outputs import TokenClassificationOutput

if TYPE_CHECKING:
    import torch


class TokenClassificationDecoder:
    """Softmax over the labels of each token, and spans of the tokens that belong together."""

    def __init__(self, output: TokenClassificationOutput, labels: Sequence[str], where: str) -> None:
        self._output, self._labels, self._where = output, tuple(labels), where
        self._kind = arrow_type(output.main_columns[0].type)
        self._entities = None if output.aggregation == "none" else Entities(labels)
        names = self._labels if self._entities is None else self._entities.names
        self._names = pa.array(names, pa.string())
        self._wanted = np.array([name not in output.ignore_labels for name in names])

    def tensors(self, forward: Forward) -> "dict[str, torch.Tensor]":
        """`labels` int64 (B, T) and `scores` float32 (B, T), those of each token's best label; for `average`, all
        `scores` (B, T, C) instead. `finite` (B,): whether all logits of a row's tokens are."""
        logits_BTC, mask_BT = self._logits(forward)
        finite_B = (logits_BTC.isfinite().all(dim=2) | ~mask_BT).all(dim=1)
        scores_BTC = logits_BTC.softmax(dim=2)
        if self._output.aggregation == "average":
            return {"scores": scores_BTC, "finite": finite_B}
        scores_BT, labels_BT = scores_BTC.max(dim=2)
        return {"labels": labels_BT, "scores": scores_BT, "finite": finite_B}

    def columns(self, outputs: Sequence[Outputs], window_rows: int) -> Decoded:
        """The spans."""
        missing = np.zeros(window_rows, dtype=bool)
        pieces = []
        for rows, found in outputs:
            missing[rows] = ~found["finite"]
            pieces.append((rows, self._spans(found)))
        return Decoded(
            columns={"spans": scatter(pieces, window_rows, self._kind)}, failures=not_finite(missing, "logits")
        )

    def compare(self, reference: Forward, found: Forward) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """By the labels of all tokens, and the largest difference of a token's score."""
        (one_BTC, mask_BT), (other_BTC, _) = self._logits(reference), self._logits(found)
        finite = [(logits.isfinite().all(dim=2) | ~mask_BT).all(dim=1) for logits in (one_BTC, other_BTC)]
        both = finite[0] & finite[1]
        (one_BT, one_labels), (other_BT, other_labels) = (
            logits.softmax(dim=2).max(dim=2) for logits in (one_BTC, other_BTC)
        )
        difference = (one_BT - other_BT).abs().masked_fill(~mask_BT, 0.0).amax(dim=1).masked_fill(~both, 0.0)
        same = ((one_labels == other_labels) | ~mask_BT).all(dim=1)
        return finite[0] | finite[1], both & same, difference

    def check_answers(self, columns: Mapping[str, pa.Array]) -> dict[int, RowFailure]:
        """Rows without a list of complete spans that fit their texts."""
        failure = RowFailure(
            "forward", "NoSpans", "the model gave no spans, or one that lacks a field or does not fit its text"
        )
        return dict.fromkeys(np.flatnonzero(odd_entries(columns["spans"], _misplaced)).tolist(), failure)

    def count(self, column: Callable[[str], pa.Array], tally: Tally) -> None:
        """Spans per label and per row, and their scores."""
        count_entries(column("spans"), self._output, _misplaced, tally)

    def _spans(self, found: Mapping[str, npt.NDArray[Any]]) -> pa.Array:
        """The column of these rows; empty lists for rows that fail."""
        origins = found["origins"]
        lengths_B = np.array([len(origin.starts_T) for origin in origins], dtype=np.int64)
        width = found["scores"].shape[1]
        mask_BT = np.arange(width)[None, :] < lengths_B[:, None]
        outside_T, continues_T, starts_T, ends_T = (
            np.concatenate([getattr(origin, name) for origin in origins])
            for name in ("outside_T", "continues_T", "starts_T", "ends_T")
        )
        rows_T = np.repeat(np.arange(len(origins)), lengths_B)
        kept_T = ~outside_T & found["finite"][rows_T]
        scores = found["scores"][mask_BT]
        scores_TC = scores[kept_T] if self._output.aggregation == "average" else None
        labels_T = found["labels"][mask_BT] if scores_TC is None else scores.argmax(axis=1)
        tokens = Spans(
            rows=rows_T[kept_T],
            labels=labels_T[kept_T],
            scores=(scores if scores_TC is None else scores.max(axis=1))[kept_T],
            starts=starts_T[kept_T],
            ends=ends_T[kept_T],
        )
        if self._output.aggregation not in ("none", "simple"):
            tokens = words_of(tokens, continues_T[kept_T], self._output.aggregation, scores_TC)
        spans = tokens if self._entities is None else self._entities.joined(tokens)
        return self._lists(spans.take(self._wanted[spans.labels]), [origin.text for origin in origins])

    def _lists(self, spans: Spans, texts: Sequence[str]) -> pa.Array:
        places = zip(spans.rows.tolist(), spans.starts.tolist(), spans.ends.tolist(), strict=True)
        fields = {
            "label": self._names.take(pa.array(spans.labels)),
            "score": pa.array(spans.scores),
            "start": pa.array(spans.starts),
            "end": pa.array(spans.ends),
            "text": pa.array([texts[row][start:end] for row, start, end in places], pa.string()),
        }
        return entry_lists(np.bincount(spans.rows, minlength=len(texts)), fields, self._kind)

    def _logits(self, forward: Forward) -> "tuple[torch.Tensor, torch.Tensor]":
        """Logits (B, T, C) and the mask of the tokens (B, T), of the rows that count."""
        what = "a token classification needs logits (B, T, C)"
        logits = tensor_of(find(forward.result, ["logits"]), self._where, what)
        assert forward.mask_BT is not None  # the task has a text: see `tasks/origin.py`
        shape = (*forward.mask_BT.shape, len(self._labels))
        if tuple(logits.shape) != shape:
            raise ModelError(
                f"{self._where}: the model returned logits of shape {tuple(logits.shape)} for {shape[0]} rows of {shape[1]} "
                f"tokens and {shape[2]} labels; expected {shape}. Declare one label per logit, in the model's order"
            )
        return logits[: forward.rows].float(), forward.mask_BT[: forward.rows]


def _misplaced(spans: pa.Array) -> npt.NDArray[np.bool_]:
    """Which spans have another number of characters than lie between their start and their end."""
    starts, ends = numbers_of(spans, "start"), numbers_of(spans, "end")
    lengths = pc.utf8_length(pc.struct_field(spans, "text")).cast(pa.float64()).to_numpy(zero_copy_only=False)
    found: npt.NDArray[np.bool_] = ~((starts >= 0) & (ends - starts == lengths))
    return found

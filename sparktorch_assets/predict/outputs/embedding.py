"""Vectors: pooled over tokens, cut to fewer dimensions, normalized.

Shapes: N rows of a window, B rows of a batch, T tokens, E components.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.arrow_lists import float_lists, slices_or
from sparktorch_assets.predict.failures import RowFailure
from sparktorch_assets.predict.outputs.decoder import Decoded, Forward, Outputs, not_finite
from sparktorch_assets.predict.outputs.numbers import count_numbers, mark
from sparktorch_assets.predict.outputs.result import compare_numbers, find, names_in, tensor_of
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.outputs import EmbeddingOutput
from sparktorch_assets.tasks.outputs.embedding import NOT_UNIT, SAME_NUMBERS

if TYPE_CHECKING:
    import torch

_NAMES = {"none": ["embedding", "pooler_output", "last_hidden_state"], "tokens": ["last_hidden_state", "embedding"]}
_UNIT = 1e-3
"""How far from 1 the norm of a normalized vector may be, because of rounding."""


class EmbeddingDecoder:
    """Pooling and normalization, on the device."""

    def __init__(self, output: EmbeddingOutput, _labels: Sequence[str], where: str) -> None:
        self._output, self._where = output, where

    def tensors(self, forward: Forward) -> "dict[str, torch.Tensor]":
        """`embedding` float32 (B, E)."""
        return {"embedding": self._vectors(forward)}

    def columns(self, outputs: Sequence[Outputs], window_rows: int) -> Decoded:
        """The vectors."""
        vectors_NE = np.full((window_rows, self._output.width), np.nan, dtype=np.float32)
        for rows, found in outputs:
            vectors_NE[slices_or(rows)] = found["embedding"]
        failures = not_finite(np.logical_not(np.isfinite(vectors_NE).all(axis=1)), "components")
        return Decoded(columns={"embedding": float_lists(vectors_NE)}, failures=failures)

    def compare(self, reference: Forward, found: Forward) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """By relative difference."""
        return compare_numbers([(self._vectors(reference), self._vectors(found))])

    def check_answers(self, columns: Mapping[str, pa.Array]) -> dict[int, RowFailure]:
        """Rows whose vector is missing, has another length, or a component that is not finite."""
        failures = {}
        for row, vector in enumerate(columns["embedding"].to_pylist()):
            if vector is None or len(vector) != self._output.width or None in vector or not np.isfinite(vector).all():
                failures[row] = RowFailure(
                    "forward", "NoVector", f"the model gave no vector of {self._output.width} finite numbers"
                )
        return failures

    def count(self, column: Callable[[str], pa.Array], tally: Tally) -> None:
        """Norms, and vectors that no model means: of a single number, or, if normalized, of another norm than 1."""
        found = column("embedding").drop_null()
        if not len(found):
            return
        lengths = pc.list_value_length(found).to_numpy(zero_copy_only=False)
        for length in np.unique(lengths):  # a single one, unless a hook changes that
            chosen = found if (lengths == length).all() else found.filter(pa.array(lengths == length))
            vectors_NE = chosen.flatten().to_numpy(zero_copy_only=False).reshape(len(chosen), int(length))
            norms = np.linalg.norm(vectors_NE.astype(np.float64), axis=1)
            count_numbers("norm", norms, tally)
            if length > 1:
                mark(SAME_NUMBERS, int((vectors_NE == vectors_NE[:, :1]).all(axis=1).sum()), tally)
            if self._output.normalize:
                mark(NOT_UNIT, int((~(np.abs(norms - 1) <= _UNIT)).sum()), tally)

    def _vectors(self, forward: Forward) -> "torch.Tensor":
        """The vectors (B, E) of the rows that count, in memory of their own."""
        import torch

        output = self._output
        names = _NAMES["none" if output.pooling == "none" else "tokens"]
        what = (
            f"an embedding needs a tensor (B, E) or (B, T, E) that is named {' or '.join(names)}, and forward returned "
            f"{names_in(forward.result)}"
        )
        found = tensor_of(find(forward.result, names), self._where, what)
        values = found[: forward.rows].float()
        if output.pooling != "none":
            values = self._pooled(values, forward)
        if values.shape != (forward.rows, output.length):
            raise ModelError(
                f"{self._where}: the model returned {tuple(found.shape)} for {forward.computed} rows; expected "
                f"({forward.computed}, {output.length}). Set output.length, or output.pooling if it is one vector per token"
            )
        values = values[:, : output.width]
        if output.normalize:
            return torch.nn.functional.normalize(values, dim=1)
        return values.clone()

    def _pooled(self, values_BTE: "torch.Tensor", forward: Forward) -> "torch.Tensor":
        if values_BTE.ndim != 3:
            raise ModelError(
                f"{self._where}: pooling={self._output.pooling!r} needs one vector per token (B, T, E), but forward "
                f"returned {tuple(values_BTE.shape)}; set pooling: none"
            )
        if self._output.pooling == "cls":
            return values_BTE[:, 0]
        own = find(forward.result, ["mask"], None)
        mask_BT = forward.mask_BT if own is None else tensor_of(own, self._where, "`mask` must be one").bool()
        if mask_BT is None:
            return values_BTE.mean(dim=1)
        mask_BT1 = mask_BT[: forward.rows, :, None]
        if mask_BT1.shape[:2] != values_BTE.shape[:2]:
            raise ModelError(
                f"{self._where}: pooling='mean' needs a mask of the vectors {tuple(values_BTE.shape[:2])}, and "
                f"{'the feature' if own is None else 'forward'} gives {tuple(mask_BT1.shape[:2])}; return a `mask` (B, T) next "
                f"to the vectors that says which of them are not padding, or pool them in forward"
            )
        # Not multiplied by the mask: attention may give NaN where there is only padding.
        return values_BTE.masked_fill(~mask_BT1, 0.0).sum(dim=1) / mask_BT1.sum(dim=1).clamp_min(1)

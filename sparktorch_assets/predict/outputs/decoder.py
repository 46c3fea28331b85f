"""The contract of decoders, and the one that belongs to a task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparktorch_assets.predict.failures import RowFailure, Rows
from sparktorch_assets.tally import Tally

if TYPE_CHECKING:
    import torch

Outputs = tuple[Rows, Mapping[str, npt.NDArray[Any]]]
"""Rows of a window, and what `Decoder.tensors` returned for them, on the host; for outputs that refer to places in a
text or an image (`refers_to`), also `origins`, one per row: see `predict/encode/origins.py`."""

ToTexts = Callable[[Sequence[Sequence[int]], bool], list[str]]
"""Turns the token ids of several rows into texts, and removes the tokenizer's spaces before punctuation if asked to."""


@dataclass(kw_only=True, slots=True)
class Decoded:
    """The columns of N rows, by their names without the task's prefix, and the rows that have none."""

    columns: dict[str, pa.Array]
    failures: dict[int, RowFailure] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Forward:
    """What a forward pass returned, and for which rows."""

    result: Any
    computed: int
    """Number of rows of the network's arguments, including those that only fill up a compiled network's shape."""
    rows: int
    """Number of rows that count: the first ones."""
    mask_BT: "torch.Tensor | None"
    """For texts and sequences, which of the tokens are not padding, bool; `None` for features without lengths."""


class Decoder(Protocol):
    """Turns what `forward` returns into columns. Importing one does not load torch."""

    def tensors(self, forward: Forward) -> "dict[str, torch.Tensor]":
        """The tensors to fetch from the device, with one entry for each of the `forward.rows` rows. They share no memory
        with the result, which may be a buffer that the network reuses.

        Raises:
            ModelError: the result is not what the task's output needs.
        """
        ...

    def columns(self, outputs: Sequence[Outputs], window_rows: int) -> Decoded:
        """The columns of a window, null or anything for rows that no entry of `outputs` covers."""
        ...

    def compare(self, reference: Forward, found: Forward) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """Compare the results of two precisions for the same rows.

        Returns:
            Three tensors (B,): whether either result is finite; whether the row gets the same prediction in both; and
            by how much they differ, 0 where one is not finite.
        """
        ...

    def check_answers(self, columns: Mapping[str, pa.Array]) -> dict[int, RowFailure]:
        """The rows whose values, from a user's model object, are no predictions."""
        ...

    def count(self, column: Callable[[str], pa.Array], tally: Tally) -> None:
        """Add the values of finished rows to `tally`; rows that failed have nulls.

        Args:
            column: gives a column by its name without the task's prefix.
            tally: what is added to.
        """
        ...


def not_finite(rows: npt.NDArray[np.bool_], what: str) -> dict[int, RowFailure]:
    """Failures of the rows that are marked."""
    if not rows.any():
        return {}
    failure = RowFailure("forward", "NotFinite", f"the model gave NaN or infinite {what}")
    return dict.fromkeys(np.flatnonzero(rows).tolist(), failure)

"""Encoded features of a window of rows, from which batches of any rows are collated.

Shapes: N rows of the window, B rows of a batch, T values (tokens) of the batch's longest sequence.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from sparktorch_assets.predict.batches.sizer import TOKEN_BYTES
from sparktorch_assets.predict.failures import RowFailure, Rows


class EncodedFeature(ABC):
    """One feature group of N rows."""

    lengths_N: npt.NDArray[np.int64] | None
    """Tokens of each row, where rows differ in length."""
    failures: dict[int, RowFailure]
    """Rows that could not be encoded; what `collate` gives for them is undefined."""
    truncated_N: npt.NDArray[np.bool_] | None = None
    """Rows that were longer than the feature allows and are cut; `None` where there is none."""

    @property
    @abstractmethod
    def shape(self) -> tuple[object, ...]:
        """What features must have in common to be joined: types, and the sizes of one row where all rows have the same."""

    @abstractmethod
    def joined(self, others: "Sequence[EncodedFeature]") -> "EncodedFeature":
        """The rows of this feature and those of `others`, which have the same `shape`, one after the other."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes of all rows' tensors, without padding."""

    @abstractmethod
    def collate(self, rows: Rows, width: int = 0) -> tuple[torch.Tensor, ...]:
        """The arguments of `forward` for these rows of the window; sequences padded to `width` values at least."""


class DenseFeature(EncodedFeature):
    """Tensors with one entry a row."""

    def __init__(self, tensors: tuple[torch.Tensor, ...], failures: dict[int, RowFailure] | None = None) -> None:
        self.lengths_N = None
        self.failures = failures or {}
        self.tensors = tensors

    @property
    def shape(self) -> tuple[object, ...]:
        """The type and size of one row of each tensor."""
        return tuple((tensor.dtype, tuple(tensor.shape[1:])) for tensor in self.tensors)

    def joined(self, others: Sequence[EncodedFeature]) -> EncodedFeature:
        """Each tensor with the others' rows at its end."""
        parts = [self, *(other for other in others if isinstance(other, DenseFeature))]
        several = zip(*(part.tensors for part in parts), strict=True)
        sizes = [len(part.tensors[0]) for part in parts]
        return DenseFeature(tuple(map(torch.cat, several)), _joined_failures(parts, sizes))

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors)

    def collate(self, rows: Rows, width: int = 0) -> tuple[torch.Tensor, ...]:  # noqa: ARG002  (sequences alone have one)
        """A view where the rows are consecutive, else a copy."""
        span = consecutive(rows)
        if span is not None:
            return tuple(tensor[span] for tensor in self.tensors)
        index = torch.from_numpy(rows)
        return tuple(tensor.index_select(0, index) for tensor in self.tensors)


class RaggedFeature(EncodedFeature):
    """Values of all rows end to end: row i's are `values[offsets_N1[i] : offsets_N1[i] + lengths_N[i]]`."""

    def __init__(
        self,
        values: npt.NDArray[np.integer] | npt.NDArray[np.floating],
        offsets_N1: npt.NDArray[np.int64],
        lengths_N: npt.NDArray[np.int64],
        failures: dict[int, RowFailure],
        truncated_N: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        self.lengths_N = lengths_N
        self.truncated_N = truncated_N
        self.failures = failures
        self.values = values
        self.offsets_N1 = offsets_N1
        self._dtype = np.int64 if np.issubdtype(values.dtype, np.integer) else np.float32

    @property
    def shape(self) -> tuple[object, ...]:
        """The type of the values."""
        return (self._dtype,)

    def joined(self, others: Sequence[EncodedFeature]) -> EncodedFeature:
        """The values end to end, and the offsets moved on."""
        parts = [self, *(other for other in others if isinstance(other, RaggedFeature))]
        starts = np.cumsum([0, *(len(part.values) for part in parts)])
        offsets = [part.offsets_N1[:-1] + start for part, start in zip(parts, starts, strict=False)]
        lengths = [part.lengths_N for part in parts if part.lengths_N is not None]
        sizes = [len(part.offsets_N1) - 1 for part in parts]
        truncated = [
            np.zeros(rows, dtype=bool) if part.truncated_N is None else part.truncated_N
            for part, rows in zip(parts, sizes, strict=True)
        ]
        return RaggedFeature(
            np.concatenate([part.values for part in parts]),
            np.concatenate([*offsets, starts[-1:]]),
            np.concatenate(lengths),
            _joined_failures(parts, sizes),
            np.concatenate(truncated),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the values and their share of the mask."""
        assert self.lengths_N is not None
        return TOKEN_BYTES * int(self.lengths_N.sum())

    def collate(self, rows: Rows, width: int = 0) -> tuple[torch.Tensor, ...]:
        """`values_BT` int64 or float32, 0 where padded, and `mask_BT` bool. T is at least 1, so that an empty sequence has
        shape."""
        assert self.lengths_N is not None
        lengths_B = self.lengths_N[rows]
        longest = max(int(lengths_B.max(initial=0)), width, 1)
        mask_BT = np.arange(longest)[None, :] < lengths_B[:, None]
        values_BT = np.zeros((len(rows), longest), dtype=self._dtype)
        # The source index of every value: each row's offset, counted on from its first value.
        ends_B = np.cumsum(lengths_B)
        starts = np.repeat(self.offsets_N1[rows] - (ends_B - lengths_B), lengths_B)
        values_BT[mask_BT] = self.values[starts + np.arange(ends_B[-1] if len(ends_B) else 0)]
        return torch.from_numpy(values_BT), torch.from_numpy(mask_BT)


def _joined_failures(parts: Sequence[EncodedFeature], sizes: Sequence[int]) -> dict[int, RowFailure]:
    starts = np.cumsum([0, *sizes])
    return {
        int(start) + row: failure
        for part, start in zip(parts, starts, strict=False)
        for row, failure in part.failures.items()
    }


def consecutive(rows: Rows) -> slice | None:
    """The rows as a slice, where each follows the one before; else `None`.

    >>> consecutive(np.array([4, 5, 6])), consecutive(np.array([0, 2, 1, 3]))
    (slice(4, 7, None), None)
    """
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 != len(rows) or not bool((rows[1:] > rows[:-1]).all()):
        return None
    return slice(first, last + 1)

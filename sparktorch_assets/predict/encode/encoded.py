"""Encoded features of a window, from which batches of any of its rows are collated.

Shapes: N rows of the window, B rows of a batch, T values (tokens) of the batch's longest sequence.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sparktorch_assets.predict.arrow_lists import consecutive
from sparktorch_assets.predict.batches.sizer import TOKEN_BYTES
from sparktorch_assets.predict.failures import RowFailure, Rows


class EncodedFeature(ABC):
    """One feature group of N rows."""

    lengths_N: npt.NDArray[np.int64] | None
    """Number of tokens per row; `None` if rows have no lengths."""
    failures: dict[int, RowFailure]
    """Rows that could not be encoded; what `collate` returns for them is undefined."""
    truncated_N: npt.NDArray[np.bool_] | None = None
    """Whether each row was longer than the feature allows and was truncated; `None` if no row can be."""
    origins: npt.NDArray[Any] | None = None
    """What relates the network's places to each row's text or image, one entry per row: see `origins.py`. `None` unless
    the task's output refers to them."""

    @property
    @abstractmethod
    def arguments(self) -> int:
        """Number of `forward`'s arguments that `collate` gives."""

    @property
    @abstractmethod
    def shape(self) -> tuple[object, ...]:
        """What features must have in common to be joined: types, and the size of a row if it is the same for all."""

    @abstractmethod
    def joined(self, others: "Sequence[EncodedFeature]") -> "EncodedFeature":
        """The rows of this feature followed by those of `others`, which must have the same `shape`."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes of the tensors of all rows, without padding."""

    @abstractmethod
    def collate(self, rows: Rows, width: int = 0) -> tuple[torch.Tensor, ...]:
        """The arguments of `forward` for these rows of the window, or what `on_device` makes them of; sequences are padded
        to at least `width` values."""

    def on_device(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The arguments of `forward`, from what `collate` returned, once it is on the network's device."""
        return list(tensors)


class DenseFeature(EncodedFeature):
    """Tensors with one entry per row."""

    def __init__(
        self,
        tensors: tuple[torch.Tensor, ...],
        failures: dict[int, RowFailure] | None = None,
        origins: npt.NDArray[Any] | None = None,
    ) -> None:
        self.lengths_N = None
        self.origins = origins
        self.failures = failures or {}
        self.tensors = tensors

    @property
    def arguments(self) -> int:
        """Number of tensors."""
        return len(self.tensors)

    @property
    def shape(self) -> tuple[object, ...]:
        """The dtype of each tensor, and the shape of one of its rows."""
        return tuple((tensor.dtype, tuple(tensor.shape[1:])) for tensor in self.tensors)

    def joined(self, others: Sequence[EncodedFeature]) -> EncodedFeature:
        """Each tensor, with the others' rows appended."""
        parts = [self, *(other for other in others if isinstance(other, DenseFeature))]
        several = zip(*(part.tensors for part in parts), strict=True)
        sizes = [len(part.tensors[0]) for part in parts]
        return DenseFeature(tuple(map(torch.cat, several)), joined_failures(parts, sizes), joined_origins(parts))

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors)

    def collate(self, rows: Rows, width: int = 0) -> tuple[torch.Tensor, ...]:  # noqa: ARG002  (for sequences only)
        """Views if the rows are consecutive, else copies."""
        return tuple(rows_of(tensor, rows) for tensor in self.tensors)


class RaggedFeature(EncodedFeature):
    """The values of all rows, concatenated (jagged layout): those of row i are
    `values[offsets_N1[i] : offsets_N1[i] + lengths_N[i]]`."""

    def __init__(
        self,
        values: npt.NDArray[np.integer] | npt.NDArray[np.floating],
        offsets_N1: npt.NDArray[np.int64],
        lengths_N: npt.NDArray[np.int64],
        failures: dict[int, RowFailure],
        truncated_N: npt.NDArray[np.bool_] | None = None,
        *,
        padding: int = 0,
        types: npt.NDArray[np.int64] | None = None,
        type_padding: int = 0,
        origins: npt.NDArray[Any] | None = None,
    ) -> None:
        """`types` holds a further number per value, in the places of `values`, such as the type ids of tokens."""
        self.lengths_N = lengths_N
        self.truncated_N = truncated_N
        self.failures = failures
        self.values = values
        self.types = types
        self.origins = origins
        self.offsets_N1 = offsets_N1
        self._padding, self._type_padding = padding, type_padding
        self._dtype = np.int64 if np.issubdtype(values.dtype, np.integer) else np.float32

    @property
    def arguments(self) -> int:
        """The values, the mask, and the types if there are any."""
        return 2 if self.types is None else 3

    @property
    def shape(self) -> tuple[object, ...]:
        """The type of the values."""
        return (self._dtype,)

    def joined(self, others: Sequence[EncodedFeature]) -> EncodedFeature:
        """The values of all features, concatenated, with their offsets shifted accordingly."""
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
            joined_failures(parts, sizes),
            np.concatenate(truncated),
            padding=self._padding,
            types=None
            if self.types is None
            else np.concatenate([part.types for part in parts if part.types is not None]),
            type_padding=self._type_padding,
            origins=joined_origins(parts),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the values and of their part of the mask."""
        assert self.lengths_N is not None
        of_types = 0 if self.types is None else self.types.itemsize
        return (TOKEN_BYTES + of_types) * int(self.lengths_N.sum())

    def collate(self, rows: Rows, width: int = 0) -> tuple[torch.Tensor, ...]:
        """`values_BT` (int64 or float32, padded) and `mask_BT` (bool, true for values), and `types_BT` (int64, padded)
        if there are types. T is at least 1, so that a batch of empty sequences has a non-empty shape."""
        assert self.lengths_N is not None
        lengths_B = self.lengths_N[rows]
        longest = max(int(lengths_B.max(initial=0)), width, 1)
        mask_BT = np.arange(longest)[None, :] < lengths_B[:, None]
        values_BT = np.full(mask_BT.shape, self._padding, dtype=self._dtype)
        # Index into `values` of every value of the batch: with lengths_B [2, 1] and offsets [5, 9], it is [5, 6, 9].
        # starts holds each row's offset minus the number of values before it, once per value: [5, 5, 7]; arange adds
        # [0, 1, 2].
        ends_B = np.cumsum(lengths_B)
        starts = np.repeat(self.offsets_N1[rows] - (ends_B - lengths_B), lengths_B)
        places = starts + np.arange(ends_B[-1] if len(ends_B) else 0)
        values_BT[mask_BT] = self.values[places]
        if self.types is None:
            return torch.from_numpy(values_BT), torch.from_numpy(mask_BT)
        types_BT = np.full(mask_BT.shape, self._type_padding, dtype=np.int64)
        types_BT[mask_BT] = self.types[places]
        return torch.from_numpy(values_BT), torch.from_numpy(mask_BT), torch.from_numpy(types_BT)


def by_feature(
    features: Sequence[EncodedFeature], tensors: Sequence[torch.Tensor]
) -> Iterator[tuple[EncodedFeature, Sequence[torch.Tensor]]]:
    """Each feature with its own of the tensors that all of them collated, one after the other."""
    place = 0
    for feature in features:
        yield feature, tensors[place : place + feature.arguments]
        place += feature.arguments


def rows_of(tensor: torch.Tensor, rows: Rows) -> torch.Tensor:
    """These rows of a tensor: a view if they are consecutive, else a copy."""
    span = consecutive(rows)
    return tensor[span] if span is not None else tensor.index_select(0, torch.from_numpy(rows))


def joined_failures(parts: Sequence[EncodedFeature], sizes: Sequence[int]) -> dict[int, RowFailure]:
    """The failures of features that are joined, by row of the joined feature."""
    starts = np.cumsum([0, *sizes])
    return {
        int(start) + row: failure
        for part, start in zip(parts, starts, strict=False)
        for row, failure in part.failures.items()
    }


def joined_origins(parts: Sequence[EncodedFeature]) -> npt.NDArray[Any] | None:
    """The origins of features that are joined."""
    kept = [part.origins for part in parts if part.origins is not None]
    return np.concatenate(kept) if kept else None

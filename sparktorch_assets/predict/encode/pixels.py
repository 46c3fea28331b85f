"""From the pixels of a window's images, 0 to 255, to the numbers that a network gets: in [0, 1], and normalized.

For a network on the CPU, that is done image by image, right after decoding, as long as the image is in the cache of its
core. For a network on a GPU, images stay bytes until they are there: that is a quarter of the bytes to copy, and leaves
the CPU more time to decode. The numbers are the same, to the last bit.

Shapes: N rows of a window, H x W pixels, C channels.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from sparktorch_assets.predict.encode.encoded import (
    DenseFeature,
    EncodedFeature,
    joined_failures,
    joined_origins,
    rows_of,
)
from sparktorch_assets.predict.failures import RowFailure, Rows

PixelArray = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
"""Pixels (H, W, C) from 0 to 255, with fractions if the image has 16 bits per channel."""


class Normalization:
    """Scales pixels to [0, 1], subtracts the mean of each channel, and divides by its standard deviation."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean_C11 = np.array(mean, dtype=np.float32).reshape(-1, 1, 1)
        self.std_C11 = np.array(std, dtype=np.float32).reshape(-1, 1, 1)
        self._shifts, self._scales = bool(self.mean_C11.any()), bool((self.std_C11 != 1).any())
        self._constants: dict[torch.device, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}

    def scale(self, pixels_HWC: PixelArray, x_CHW: npt.NDArray[np.float32]) -> None:
        """Write the scaled and normalized pixels of one image to `x_CHW`."""
        np.divide(pixels_HWC.transpose(2, 0, 1), 255, out=x_CHW, dtype=np.float32)
        self.normalize(x_CHW)

    def normalize(self, x_CHW: npt.NDArray[np.float32]) -> None:
        """Normalize numbers in [0, 1], in place."""
        if self._shifts:
            x_CHW -= self.mean_C11
        if self._scales:
            x_CHW /= self.std_C11

    def of_bytes(self, pixels_NHWC: torch.Tensor) -> torch.Tensor:
        """The same of uint8 images, on their device."""
        white, mean_C11, std_C11 = self._constants_on(pixels_NHWC.device)
        x_NCHW = pixels_NHWC.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(white)
        if self._shifts:
            x_NCHW.sub_(mean_C11)
        if self._scales:
            x_NCHW.div_(std_C11)
        return x_NCHW

    def _constants_on(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """White, mean and standard deviation. They are copied once: to copy them to a GPU, the host waits for all that was
        launched there. White is a tensor as well, since torch multiplies by the reciprocal of a plain number, which
        rounds differently."""
        if device not in self._constants:
            white, mean_C11, std_C11 = (
                torch.from_numpy(values).to(device)
                for values in (np.array(255, dtype=np.float32), self.mean_C11, self.std_C11)
            )
            self._constants[device] = white, mean_C11, std_C11
        return self._constants[device]


class Canvas(Protocol):
    """Holds a window's images while they are decoded."""

    def put(self, rows: Sequence[int], pixels_HWC: PixelArray) -> None:
        """Store an image for these rows; called from several threads, for different rows."""
        ...

    def fill(self, row: int, value: float) -> None:
        """Store an image of which each number is `value`, in [0, 1]."""
        ...

    def feature(self, failures: dict[int, RowFailure], origins: npt.NDArray[Any] | None) -> EncodedFeature:
        """The encoded window."""
        ...


class FloatCanvas:
    """Images that are normalized as they come."""

    def __init__(self, shape: tuple[int, int, int, int], normalization: Normalization) -> None:
        """`shape` is (N, H, W, C)."""
        rows, height, width, channels = shape
        self._x_NCHW = np.empty((rows, channels, height, width), dtype=np.float32)
        self._normalization = normalization

    def put(self, rows: Sequence[int], pixels_HWC: PixelArray) -> None:
        """Normalize the image."""
        # NumPy, row by row: a row stays in its core's cache, and torch would start threads of its own in each thread.
        x_CHW = self._x_NCHW[rows[0]]
        self._normalization.scale(pixels_HWC, x_CHW)
        for row in rows[1:]:
            self._x_NCHW[row] = x_CHW

    def fill(self, row: int, value: float) -> None:
        """Normalize the value."""
        self._x_NCHW[row] = value
        self._normalization.normalize(self._x_NCHW[row])

    def feature(self, failures: dict[int, RowFailure], origins: npt.NDArray[Any] | None) -> EncodedFeature:
        """The normalized images."""
        return DenseFeature((torch.from_numpy(self._x_NCHW),), failures, origins)


class ByteCanvas:
    """Images that are normalized where the network is. If one is not made of bytes, all are normalized here."""

    def __init__(self, shape: tuple[int, int, int, int], normalization: Normalization) -> None:
        """`shape` is (N, H, W, C)."""
        self._pixels_NHWC = np.empty(shape, dtype=np.uint8)
        self._normalization = normalization
        self._others: dict[int, npt.NDArray[np.float32]] = {}

    def put(self, rows: Sequence[int], pixels_HWC: PixelArray) -> None:
        """Keep the bytes of the image; normalize one that has fractions."""
        if pixels_HWC.dtype == np.uint8:
            for row in rows:
                self._pixels_NHWC[row] = pixels_HWC
            return
        x_CHW = np.empty(pixels_HWC.transpose(2, 0, 1).shape, dtype=np.float32)
        self._normalization.scale(pixels_HWC, x_CHW)
        self._others |= dict.fromkeys(rows, x_CHW)

    def fill(self, row: int, value: float) -> None:
        """Normalize the value."""
        height, width, channels = self._pixels_NHWC.shape[1:]
        x_CHW = np.full((channels, height, width), value, dtype=np.float32)
        self._normalization.normalize(x_CHW)
        self._others[row] = x_CHW

    def feature(self, failures: dict[int, RowFailure], origins: npt.NDArray[Any] | None) -> EncodedFeature:
        """The images, as bytes if all are."""
        pixels = torch.from_numpy(self._pixels_NHWC)
        if self._others:
            pixels = self._normalization.of_bytes(pixels)
            for row, x_CHW in self._others.items():
                pixels[row] = torch.from_numpy(x_CHW)
        return PixelFeature(pixels, self._normalization, failures, origins)


class PixelFeature(EncodedFeature):
    """Images: uint8 (N, H, W, C) to be normalized on the device, or float32 (N, C, H, W) that are normalized already."""

    def __init__(
        self,
        pixels: torch.Tensor,
        normalization: Normalization,
        failures: dict[int, RowFailure],
        origins: npt.NDArray[Any] | None = None,
    ) -> None:
        self.lengths_N = None
        self.failures = failures
        self.origins = origins
        self._pixels, self._normalization = pixels, normalization

    @property
    def arguments(self) -> int:
        """One tensor."""
        return 1

    @property
    def shape(self) -> tuple[object, ...]:
        """The dtype and the shape of an image on the device."""
        if self._pixels.dtype != torch.uint8:
            return ((self._pixels.dtype, tuple(self._pixels.shape[1:])),)
        height, width, channels = self._pixels.shape[1:]
        return ((torch.float32, (channels, height, width)),)

    def joined(self, others: Sequence[EncodedFeature]) -> EncodedFeature:
        """The images of all features; bytes only if all are bytes."""
        parts = [self, *(other for other in others if isinstance(other, PixelFeature))]
        pixels = [part._pixels for part in parts]  # noqa: SLF001  (of its own class)
        if len({part.dtype for part in pixels}) > 1:
            pixels = list(map(self._normalized, pixels))
        sizes = [len(part) for part in pixels]
        return PixelFeature(
            torch.cat(pixels), self._normalization, joined_failures(parts, sizes), joined_origins(parts)
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the images on the device."""
        return 4 * self._pixels.numel()

    def collate(self, rows: Rows, width: int = 0) -> tuple[torch.Tensor, ...]:  # noqa: ARG002  (for sequences only)
        """Views if the rows are consecutive, else copies."""
        return (rows_of(self._pixels, rows),)

    def on_device(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """float32 (B, C, H, W)."""
        return [self._normalized(tensor) for tensor in tensors]

    def _normalized(self, pixels: torch.Tensor) -> torch.Tensor:
        return self._normalization.of_bytes(pixels) if pixels.dtype == torch.uint8 else pixels

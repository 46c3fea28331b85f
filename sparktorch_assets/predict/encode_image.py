"""Encoded images as pixels: decoded by Pillow, resized, scaled to [0, 1] and normalised."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from PIL import Image

from sparktorch_assets.predict.columns import column_of, null_failures
from sparktorch_assets.predict.encoded import DenseFeature, EncodedFeature
from sparktorch_assets.predict.failures import RowFailure
from sparktorch_assets.tasks.features import ImageFeature

_RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class ImageEncoder:
    """`x_NCHW` float32."""

    def __init__(self, feature: ImageFeature) -> None:
        self.columns = feature.columns
        self.row_bytes = 4 * feature.channels * feature.height * feature.width
        self._feature = feature
        self._mode = "L" if feature.channels == 1 else "RGB"
        self._size = (feature.width, feature.height)
        self._resample = _RESAMPLE[feature.resample]
        self._mean_C11 = np.array(feature.mean, dtype=np.float32).reshape(-1, 1, 1)
        self._std_C11 = np.array(feature.std, dtype=np.float32).reshape(-1, 1, 1)

    def encode(self, batch: pa.RecordBatch) -> EncodedFeature:
        """Decode every row; one that Pillow cannot read fails alone."""
        feature = self._feature
        column = column_of(batch, feature.column)
        failures = null_failures(column, f"column {feature.column!r}") if feature.fill is None else {}
        x_NCHW = np.empty((len(column), feature.channels, feature.height, feature.width), dtype=np.float32)

        # With numpy and row by row: a row stays in its core's cache, and torch would start threads in each thread.
        def fill_row(row: int) -> None:
            encoded, x_CHW = column[row].as_py(), x_NCHW[row]
            try:
                if encoded is None:
                    x_CHW[:] = feature.fill or 0.0
                else:
                    np.divide(self._decode(encoded).transpose(2, 0, 1), 255, out=x_CHW, dtype=np.float32)
            except Exception as error:  # noqa: BLE001  (Pillow raises many kinds for broken files)
                failures[row] = RowFailure.of("encode", error)
                return
            if self._mean_C11.any():
                x_CHW -= self._mean_C11
            if (self._std_C11 != 1).any():
                x_CHW /= self._std_C11

        threads = torch.get_num_threads()
        if threads == 1:
            for row in range(len(column)):
                fill_row(row)
        else:  # Pillow decodes and resizes without holding the interpreter's lock
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(fill_row, range(len(column))))
        return DenseFeature((torch.from_numpy(x_NCHW),), failures)

    def _decode(self, encoded: bytes) -> npt.NDArray[np.uint8]:
        with Image.open(io.BytesIO(encoded)) as image:
            pixels = image.convert(self._mode)
        if pixels.size != self._size:
            pixels = pixels.resize(self._size, self._resample)
        return np.array(pixels, dtype=np.uint8).reshape(self._feature.height, self._feature.width, -1)

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

    def encode(self, batch: pa.RecordBatch) -> EncodedFeature:
        """Decode every row; one that Pillow cannot read fails alone."""
        feature = self._feature
        column = column_of(batch, feature.column)
        failures = null_failures(column, f"column {feature.column!r}") if feature.fill is None else {}
        x_NCHW = torch.zeros(len(column), feature.channels, feature.height, feature.width)

        def fill_row(row: int) -> None:
            encoded = column[row].as_py()
            if encoded is None:
                x_NCHW[row] = feature.fill or 0.0
                return
            try:
                x_NCHW[row] = torch.from_numpy(self._decode(encoded)).permute(2, 0, 1)
            except Exception as error:  # noqa: BLE001  (Pillow raises many kinds for broken files)
                failures[row] = RowFailure.of("encode", error)
            else:
                x_NCHW[row].div_(255.0)

        threads = torch.get_num_threads()
        if threads == 1:
            for row in range(len(column)):
                fill_row(row)
        else:  # Pillow decodes and resizes without holding the interpreter's lock
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(fill_row, range(len(column))))
        mean, std = (torch.tensor(tuple(value)).view(1, -1, 1, 1) for value in (feature.mean, feature.std))
        return DenseFeature((x_NCHW.sub_(mean).div_(std),), failures)

    def _decode(self, encoded: bytes) -> npt.NDArray[np.uint8]:
        with Image.open(io.BytesIO(encoded)) as image:
            pixels = image.convert(self._mode)
        if pixels.size != self._size:
            pixels = pixels.resize(self._size, self._resample)
        return np.array(pixels, dtype=np.uint8).reshape(self._feature.height, self._feature.width, -1)

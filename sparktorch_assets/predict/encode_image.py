"""Encoded images as pixels: decoded by Pillow, resized, scaled to [0, 1] and normalised."""

import io

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
        failures = null_failures(column, feature.column) if feature.fill is None else {}
        pixels_NHWC = np.zeros((len(column), feature.height, feature.width, feature.channels), dtype=np.uint8)
        for row, content in enumerate(column):
            encoded = content.as_py()
            if encoded is None:
                pixels_NHWC[row] = round(255 * (feature.fill or 0.0))
                continue
            try:
                pixels_NHWC[row] = self._decode(encoded)
            except Exception as error:  # noqa: BLE001  (Pillow raises many kinds for broken files)
                failures[row] = RowFailure.of("encode", error)
        x_NCHW = torch.from_numpy(pixels_NHWC).permute(0, 3, 1, 2).to(torch.float32).div_(255.0)
        mean, std = (torch.tensor(tuple(value)).view(1, -1, 1, 1) for value in (feature.mean, feature.std))
        return DenseFeature((x_NCHW.sub_(mean).div_(std).contiguous(),), failures)

    def _decode(self, encoded: bytes) -> npt.NDArray[np.uint8]:
        with Image.open(io.BytesIO(encoded)) as image:
            pixels = image.convert(self._mode)
        if pixels.size != self._size:
            pixels = pixels.resize(self._size, self._resample)
        return np.asarray(pixels, dtype=np.uint8).reshape(self._feature.height, self._feature.width, -1)

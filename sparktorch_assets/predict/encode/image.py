"""Turns encoded images into pixels: decoded by Pillow, resized, scaled to [0, 1] and normalized."""

import contextlib
import functools
import io
import math
import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image, ImageOps, UnidentifiedImageError

from sparktorch_assets.predict.encode.columns import column_of, null_failures
from sparktorch_assets.predict.encode.each_file import each_file
from sparktorch_assets.predict.encode.encoded import EncodedFeature
from sparktorch_assets.predict.encode.origins import image_origin
from sparktorch_assets.predict.encode.pixels import ByteCanvas, Canvas, FloatCanvas, Normalization, PixelArray
from sparktorch_assets.predict.encode.reduced_jpeg import Reduced, reduce_jpeg
from sparktorch_assets.predict.encode.stored_files import StoredFiles
from sparktorch_assets.tasks.features import ImageFeature

_RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


MAX_PIXELS = 1 << 26
"""Number of pixels of the largest image that is decoded, 8,192 x 8,192. Pillow needs four bytes per pixel, and a
file of 20 KB may claim hundreds of times as many pixels."""

LARGE_PIXELS = 1 << 24
"""Images with more pixels than this (4,096 x 4,096) are decoded one at a time per process, so that threads do not
multiply their memory."""

FORMATS = (
    *("AVIF", "BMP", "DDS", "DIB", "GIF", "JPEG", "JPEG2000", "MPO"),
    *("PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP"),
)
"""The formats that are decoded, by Pillow's names. In all of them, the size in the header is the decoded size. Other
formats start another program (EPS), or contain images whose size is not known in advance (ICO, ICNS, BLP)."""

_decodes_large = threading.Lock()

_WHITE_16 = 257
"""65535 / 255: the divisor that scales a 16-bit pixel to the range of 8 bits, as a fraction."""


class ImageEncoder:
    """Encodes images as `x_NCHW`, float32.

    Args:
        feature: the feature group.
        origins: whether to keep what relates places to each row's image.
        on_device: whether pixels are normalized on the network's device rather than here.
    """

    def __init__(self, feature: ImageFeature, *, origins: bool = False, on_device: bool = False) -> None:
        self.columns = feature.columns
        height, width = feature.size
        self.row_bytes = 4 * feature.channels * height * width
        self._feature = feature
        self._keeps_origins = origins
        self._mode = "L" if feature.channels == 1 else "RGB"
        self._size = (width, height)
        self._resample = _RESAMPLE[feature.resample]
        self._files = StoredFiles(feature.folder) if feature.read == "uri" else None
        self._normalization = Normalization(feature.mean, feature.std)
        self._canvas = ByteCanvas if on_device else FloatCanvas

    def encode(self, batch: pa.RecordBatch) -> EncodedFeature:
        """Decode every row; a row that Pillow cannot read fails alone."""
        feature = self._feature
        what = f"column {feature.column!r}"
        column = column_of(batch, feature.column)
        failures = null_failures(column, what) if feature.fill is None else {}
        canvas: Canvas = self._canvas((len(column), *feature.size, feature.channels), self._normalization)
        origins_N4 = np.zeros((len(column), 4)) if self._keeps_origins else None

        def decode(rows: Sequence[int], encoded: bytes) -> None:
            pixels, size = self._decode(encoded)
            canvas.put(rows, pixels)
            if origins_N4 is not None:
                resized = self._resized(*size)
                origins_N4[list(rows)] = image_origin(size, resized, self._size, self._corner(resized))

        for row in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)):
            canvas.fill(int(row), feature.fill or 0.0)
            if origins_N4 is not None:
                origins_N4[row] = image_origin(self._size, self._size, self._size, (0, 0))
        each_file(column, what, self._files, failures, decode)
        return canvas.feature(failures, origins_N4)

    def _decode(self, encoded: bytes) -> tuple[PixelArray, tuple[int, int]]:
        """Pixels (H, W, C) from 0 to 255, with fractions if the image has 16 bits per channel; and the width and height
        of the image itself, once it is turned."""
        gap = self._feature.jpeg_reducing_gap
        if gap is not None:
            with contextlib.suppress(OSError):  # a broken file then fails as it does without a gap
                return self._decode_with(gap, encoded)
        return self._decode_with(None, encoded)

    def _decode_with(self, gap: float | None, encoded: bytes) -> tuple[PixelArray, tuple[int, int]]:
        with _opened(encoded) as image:
            pixels = image.width * image.height
            if pixels > MAX_PIXELS:  # checked before any pixel is decoded
                raise ValueError(
                    f"the image has {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are decoded"
                )
            width, height = self._resized(image.width, image.height)
            if width * height > MAX_PIXELS:  # a strip of 1 x 60,000 pixels would grow 50,000 times
                raise ValueError(
                    f"the image has {image.width} x {image.height} pixels, and would have {width} x {height} with a "
                    f"shortest side of {self._feature.shortest_side}; at most {MAX_PIXELS:,} are made"
                )
            turned = self._feature.exif_orientation
            reduced = None if gap is None else reduce_jpeg(image, gap, self._resized, turned=turned)
            if reduced is not None and not image.info.get("progressive"):  # libjpeg holds those as a whole
                pixels = image.width * image.height
            with _decodes_large if max(pixels, width * height) > LARGE_PIXELS else contextlib.nullcontext():
                pixels_HWC = self._pixels(image, reduced)
                return pixels_HWC, image.size if reduced is None else reduced.size

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """The size to which an image of this size is resized, before the crop if there is one."""
        shortest = self._feature.shortest_side
        if shortest is None:
            return self._size
        # As in torchvision, fractions of a pixel are cut off.
        return (shortest, shortest * height // width) if width <= height else (shortest * width // height, shortest)

    def _fit(self, image: Image.Image, reduced: Reduced | None = None) -> Image.Image:
        """The image in the size of the feature: resized, and cropped around its centre if it was resized to its
        shortest side."""
        resized = self._resized(*(image.size if reduced is None else reduced.size))
        if image.size != resized:
            image = image.resize(resized, self._resample, box=None if reduced is None else reduced.box)
        if resized == self._size:
            return image
        left, top = self._corner(resized)
        return image.crop((left, top, left + self._size[0], top + self._size[1]))

    def _corner(self, resized: tuple[int, int]) -> tuple[int, int]:
        """The left and the upper edge of what is cut out of the centre of a resized image."""
        offset = math.floor if self._feature.crop_offset == "down" else round
        left, top = (offset((have - want) / 2) for have, want in zip(resized, self._size, strict=True))
        return left, top

    def _opaque(self, image: Image.Image) -> Image.Image:
        """The image on the feature's background if it has transparent parts."""
        if self._feature.background is None or not image.has_transparency_data:
            return image
        grey = round(255 * self._feature.background)
        return Image.alpha_composite(Image.new("RGBA", image.size, (grey, grey, grey, 255)), image.convert("RGBA"))

    def _pixels(self, image: Image.Image, reduced: Reduced | None) -> PixelArray:
        if self._feature.exif_orientation:
            ImageOps.exif_transpose(image, in_place=True)  # a copy would not know its format
        # Pillow returns PGM files of more than 8 bits as 32-bit pixels, scaled to the range of 16 bits.
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
            return self._decode_16_bits(image)
        if image.mode in ("I", "F"):
            self._check_range(image)
        image = self._opaque(image)
        if image.mode != self._mode:  # otherwise, converting copies every pixel
            image = image.convert(self._mode)
        return np.asarray(self._fit(image, reduced), dtype=np.uint8).reshape(*self._feature.size, -1)

    def _decode_16_bits(self, image: Image.Image) -> npt.NDArray[np.float32]:
        grey = self._fit(Image.fromarray(np.asarray(image).astype(np.float32) / _WHITE_16))
        grey_HW1 = np.asarray(grey, dtype=np.float32).clip(0, 255)[:, :, None]
        return np.repeat(grey_HW1, self._feature.channels, axis=2)

    @staticmethod
    def _check_range(image: Image.Image) -> None:
        low, high = image.getextrema()
        if isinstance(low, int | float) and isinstance(high, int | float) and 0 <= low <= high <= 255:
            known = image.mode == "I" or not 0 < high <= 1  # fractions up to 1 are likely to be relative to white
        else:
            known = False
        if not known:
            raise ValueError(
                f"32-bit pixels (Pillow's mode {image.mode}) from {low} to {high} have no known white level; convert "
                f"the image to 8 or 16 bits"
            )


def _opened(encoded: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(encoded), formats=_formats())
    except (
        UnidentifiedImageError
    ):  # its message names an object's place in memory, so equal rows would get different ones
        raise UnidentifiedImageError(f"cannot identify the format of the image, {len(encoded):,} bytes") from None


@functools.cache
def _formats() -> list[str]:
    """The entries of `FORMATS` that this build of Pillow supports."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]

"""Encoded images, as pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.features.checks import ADDED, check_arguments, check_folder
from sparktorch_assets.tasks.features.column_types import wrong_type_of_files
from sparktorch_assets.tasks.features.group import SingleColumn
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.validation import names, positive, share


@dataclass(frozen=True, kw_only=True, slots=True, weakref_slot=True)
class ImageFeature(SingleColumn):
    """Encoded images (PNG, JPEG, WebP, TIFF ...) as `x_BCHW` float32, `(pixel / 255 - mean) / std`."""

    column: str
    """The column of image files: their bytes, or their paths or URIs, as `read` says."""
    height: int | None = None
    """The height in pixels that the network expects; an image of another size is resized. Required with `width`, unless
    the model is a Hugging Face folder that says both."""
    width: int | None = None
    """The width in pixels."""
    channels: Literal[1, 3] = 3
    """1: images are converted to grey. 3: to red, green and blue."""
    mean: Sequence[float] = (0.0,)
    """What is subtracted from `pixel / 255`: one value per channel, or one for all."""
    std: Sequence[float] = (1.0,)
    """What the difference is divided by: one value per channel, or one for all."""
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    """Pillow's resampling filter, used if an image has another size."""
    fill: float | None = None
    """A grey level in [0, 1] that replaces a null. `None`: a row with a null fails."""
    shortest_side: int | None = field(default=None, metadata=ADDED)
    """Resize an image until its shorter side has this many pixels, which keeps its proportions, and cut `height` x
    `width` out of its centre. `None`: it is resized to `height` x `width`, whatever its proportions are."""
    crop_offset: Literal["nearest", "down"] = field(default="nearest", metadata=ADDED)
    """With `shortest_side`, how half a pixel is rounded if the crop cannot lie exactly in the middle: `nearest`, to the
    even number, as torchvision does; `down`, as transformers does."""
    exif_orientation: bool = field(default=False, metadata=ADDED)
    """Turn photos as the camera's EXIF orientation says, before they are resized."""
    background: float | None = field(default=None, metadata=ADDED)
    """A grey level in [0, 1] on which images with transparent parts are laid. `None`: transparency is ignored."""
    jpeg_reducing_gap: float | None = field(default=None, metadata=ADDED)
    """Decode a JPEG file at a half, a quarter or an eighth of its size: the smallest at which both sides are at least
    this many times as long as what they are resized to. A number from 1 on; the higher it is, the closer pixels are to
    those of full decoding, and the fewer files are reduced. `None`: files are decoded at their own size."""
    read: Literal["bytes", "uri"] = field(default="bytes", metadata=ADDED)
    """What the column holds: the `bytes` of files, or with `uri` their paths or URIs, which are read through
    `pyarrow.fs`."""
    folder: str | None = field(default=None, metadata=ADDED)
    """With `read: uri`, the folder of relative paths: an absolute path or a URI. `None`: relative paths fail their
    row."""
    argument: str | None = field(default=None, metadata=ADDED)
    """The name under which `forward` gets the tensor. `None`: by position, in the order of the groups."""
    kind: Literal["image"] = "image"
    """Tells the groups of a list apart. YAML has to give it; in Python, the class implies it."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_arguments(self)
        names((self.column,), "ImageFeature.column")
        if (self.height is None) != (self.width is None):
            raise TaskError("ImageFeature: one of height and width is given without the other; give both")
        if self.height is None and self.shortest_side is not None:
            raise TaskError("ImageFeature.shortest_side is given, but not what is cut out; give height and width, too")
        for name in ("height", "width"):
            if getattr(self, name) is not None:
                positive(getattr(self, name), f"ImageFeature.{name}")
        share(self.fill, "ImageFeature.fill")
        share(self.background, "ImageFeature.background")
        check_folder(self)
        self._check_gap()
        largest = max(self.height or 0, self.width or 0)
        if self.shortest_side is not None and self.shortest_side < largest:
            raise TaskError(
                f"ImageFeature.shortest_side={self.shortest_side} is too small for {self.height} x {self.width} pixels "
                f"to be cut out; give at least {largest}"
            )
        for name in ("mean", "std"):
            value = tuple(float(part) for part in getattr(self, name))
            if len(value) not in (1, self.channels):
                raise TaskError(
                    f"ImageFeature.{name} has {len(value)} values; give 1 or {self.channels}, one per channel"
                )
            if not all(map(math.isfinite, value)):
                raise TaskError(f"ImageFeature.{name}={value}; every value must be finite")
            object.__setattr__(self, name, value)
        if any(part <= 0 for part in self.std):
            raise TaskError(f"ImageFeature.std={tuple(self.std)}; every value must be above 0")

    def _check_gap(self) -> None:
        gap = self.jpeg_reducing_gap
        if gap is None:
            return
        if not 1 <= gap < math.inf:
            raise TaskError(f"ImageFeature.jpeg_reducing_gap={gap} must be a finite number of at least 1; try 2")
        if self.resample == "nearest":
            raise TaskError(
                f"ImageFeature.jpeg_reducing_gap={gap} makes averages of neighbouring pixels, and resample: nearest takes "
                f"pixels as they are; give another filter, or leave jpeg_reducing_gap out"
            )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width; for a feature that names them, or has been completed by the model's folder."""
        assert self.height is not None, "checked by MlTask, or completed"
        assert self.width is not None, "as the height"
        return self.height, self.width

    @property
    def left_out(self) -> str | None:
        """What only a Hugging Face folder can say and the group does not; `None` if it is complete."""
        return (
            "ImageFeature.height and width are missing; only a Hugging Face folder says them itself, so give the pixels "
            "that the network expects"
            if self.height is None
            else None
        )

    def wrong_type(self, found: str) -> str | None:
        """What is wrong with a column of the type `found`, as `str(pyarrow.DataType)` gives it; `None` if it fits."""
        return wrong_type_of_files(found, self.read, "PNG, JPEG or other encoded images")

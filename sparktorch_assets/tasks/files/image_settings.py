"""How a Hugging Face folder's image processor prepares an image, in the terms of an image feature."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sparktorch_assets.errors import ModelError
from sparktorch_assets.tasks.files.folder_json import read_settings

Resample = Literal["nearest", "bilinear", "bicubic", "lanczos"]

_RESAMPLES: dict[int, Resample] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of its filters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSettings:
    """What is done to an image's pixels."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    resample: Resample

    def __str__(self) -> str:
        return f"mean {self.mean}, std {self.std}, resample {self.resample}"

    @classmethod
    def of_folder(cls, path: Path) -> "ImageSettings":
        """Read `preprocessor_config.json`.

        Raises:
            ModelError: there is no such file, or it does something that an image feature does not.
        """
        file = path / "preprocessor_config.json"
        given = read_settings(file)
        odd = [what for does, what in _unknown(given) if does]
        if odd:
            raise ModelError(
                f"{file} {odd[0]}, which an image feature does not do. Give mean and std in the feature, one value per "
                f"channel: images are then prepared as the feature alone says. To do it exactly, use a batch_preprocessor"
            )
        normalizes = given.get("do_normalize", True)
        mean, std = (_numbers(given.get(name)) if normalizes else None for name in ("image_mean", "image_std"))
        if normalizes and (mean is None or std is None):
            raise ModelError(f"{file} names no image_mean or image_std; give mean and std in the image feature")
        return cls(
            mean=mean or (0.0, 0.0, 0.0),
            std=std or (1.0, 1.0, 1.0),
            resample=_RESAMPLES[given["resample"]],
        )


def _unknown(given: dict[str, Any]) -> tuple[tuple[bool, str], ...]:
    size = given.get("size")
    whole = isinstance(size, int) or (isinstance(size, dict) and size.keys() == {"height", "width"})
    return (
        (bool(given.get("do_center_crop")), "crops images to their centre (do_center_crop)"),
        (bool(given.get("do_pad")), "pads images (do_pad)"),
        (not given.get("do_resize", True), "leaves images in their own size (do_resize)"),
        (not whole, f"resizes images to {size!r} instead of a height and a width"),
        (not given.get("do_rescale", True), "does not scale pixels to 1 (do_rescale)"),
        (abs(given.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-6, "scales pixels by another number than 1/255"),
        (given.get("resample") not in _RESAMPLES, f"resizes with filter {given.get('resample')!r} of Pillow"),
    )


def _numbers(given: Any) -> tuple[float, ...] | None:
    return tuple(map(float, given)) if isinstance(given, list) and given else None

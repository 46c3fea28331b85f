"""How a Hugging Face folder's image processor prepares an image, in the terms of an image feature."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sparktorch_assets.errors import ModelError
from sparktorch_assets.tasks.files.folders.folder_json import read_settings

Resample = Literal["nearest", "bilinear", "bicubic", "lanczos"]

_RESAMPLES: dict[int, Resample] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of its filters."""
_MAX_PIXELS = 1 << 26
"""An image that a network gets is smaller than the largest one that is decoded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSettings:
    """What is done to an image's pixels."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    resample: Resample
    height: int
    width: int
    shortest_side: int | None
    """The shorter side to which an image is resized before `height` x `width` are cut out of its centre; `None` if it is
    resized to these, whatever its proportions are."""

    def __str__(self) -> str:
        size = f"{self.height} x {self.width}"
        if self.shortest_side is not None:
            size = f"shortest side {self.shortest_side}, centre {size}"
        return f"{size}, mean {self.mean}, std {self.std}, resample {self.resample}"

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
                f"{file} {odd[0]}, which an image feature does not do. Give height, width, mean and std in the feature, mean "
                f"and std with one value per channel: images are then prepared as the feature alone says. To do it exactly, use a batch_preprocessor"
            )
        normalizes = given.get("do_normalize", True)
        mean, std = (_numbers(given.get(name)) if normalizes else None for name in ("image_mean", "image_std"))
        if normalizes and (mean is None or std is None):
            raise ModelError(f"{file} names no image_mean or image_std; give mean and std in the image feature")
        height, width = _crop(given) or _pair(given.get("size")) or (0, 0)
        if max(height, _shortest(given) or 0) * max(width, _shortest(given) or 0) > _MAX_PIXELS:
            raise ModelError(f"{file} makes images of more than {_MAX_PIXELS:,} pixels, which no known model takes")
        return cls(
            mean=mean or (0.0, 0.0, 0.0),
            std=std or (1.0, 1.0, 1.0),
            resample=_RESAMPLES[given["resample"]],
            height=height,
            width=width,
            shortest_side=_shortest(given),
        )


def _unknown(given: dict[str, Any]) -> tuple[tuple[bool, str], ...]:
    size, crop, shortest = _pair(given.get("size")), _crop(given), _shortest(given)
    return (
        (
            bool(given.get("do_center_crop")) and crop is None,
            "crops images to their centre (do_center_crop), and does not say to which crop_size",
        ),
        (bool(given.get("do_pad")), "pads images (do_pad)"),
        (not given.get("do_resize", True), "leaves images in their own size (do_resize)"),
        (given.get("crop_pct") is not None, "resizes images by a share of their crop (crop_pct)"),
        (size is None and shortest is None, f"resizes images to {given.get('size')!r} instead of a height and a width"),
        (shortest is not None and crop is None, "resizes images to a shortest edge without a crop, to different sizes"),
        (shortest is not None and crop is not None and shortest < max(crop), "crops more than the shortest edge"),
        (
            size is not None and crop is not None and size != crop,
            "crops images after it has resized them to a fixed size",
        ),
        (not given.get("do_rescale", True), "does not scale pixels to 1 (do_rescale)"),
        (abs(given.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-6, "scales pixels by another number than 1/255"),
        (given.get("resample") not in _RESAMPLES, f"resizes with filter {given.get('resample')!r} of Pillow"),
    )


def _pair(size: Any) -> tuple[int, int] | None:
    """Height and width, from two numbers by name, or one for both; `None` if it is something else."""
    if isinstance(size, dict) and size.keys() == {"height", "width"}:
        size = (size["height"], size["width"])
    elif isinstance(size, int):
        size = (size, size)
    else:
        return None
    return size if all(isinstance(one, int) and one > 0 for one in size) else None


def _crop(given: dict[str, Any]) -> tuple[int, int] | None:
    return _pair(given.get("crop_size")) if given.get("do_center_crop") else None


def _shortest(given: dict[str, Any]) -> int | None:
    size = given.get("size")
    found = size["shortest_edge"] if isinstance(size, dict) and size.keys() == {"shortest_edge"} else None
    return found if isinstance(found, int) and found > 0 else None


def _numbers(given: Any) -> tuple[float, ...] | None:
    return tuple(map(float, given)) if isinstance(given, list) and given else None

"""Has JPEG files decoded at a half, a quarter or an eighth of their size.

A JPEG file holds the frequencies of blocks of 8 x 8 pixels. libjpeg can make the averages of 2 x 2, 4 x 4 or 8 x 8
neighbouring pixels right from them, in less time than it takes to make all pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile

_FACTORS = (8, 4, 2)
_SWAPS_SIDES = (5, 6, 7, 8)
"""EXIF orientations whose rows are columns."""
_RIGHT_TO_LEFT = (2, 3, 6, 7)
"""EXIF orientations after which what follows the last pixel of a row, or of a column if they are swapped, comes first."""
_BOTTOM_TO_TOP = (3, 4, 7, 8)


@dataclass(frozen=True, slots=True)
class Reduced:
    """Where the original image lies in a reduced one, both turned."""

    size: tuple[int, int]
    """Width and height of the original image."""
    box: tuple[float, float, float, float]
    """Its left, upper, right and lower edge in pixels of the reduced image, whose last pixels may reach over the edge:
    1,023 pixels become 512, of which they take 511.5."""


def reduce_jpeg(
    image: Image.Image, gap: float, resized: Callable[[int, int], tuple[int, int]], *, turned: bool
) -> Reduced | None:
    """Let an image that is not loaded yet be decoded at a smaller size, if it is a JPEG file that is large enough.

    Args:
        image: the image; its size becomes the smaller one.
        gap: how many times the size that it will be resized to the decoded image needs at least.
        resized: gives that size for the width and height of an image that has been turned.
        turned: whether the image will be turned as its EXIF orientation says.

    Returns:
        What is needed for resizing it later; `None` if it is decoded at its own size.
    """
    if not isinstance(image, JpegImageFile):
        return None
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1) if turned else 1
    width, height = image.size
    size = (height, width) if orientation in _SWAPS_SIDES else (width, height)
    room = min(have / made for have, made in zip(size, resized(*size), strict=True)) / gap
    factor = next((factor for factor in _FACTORS if factor <= room), None)
    if factor is None:
        return None
    image.draft(None, (width // factor, height // factor))
    decoded = image.size[::-1] if orientation in _SWAPS_SIDES else image.size
    over = [have - whole / factor for have, whole in zip(decoded, size, strict=True)]
    left = over[0] if orientation in _RIGHT_TO_LEFT else 0.0
    top = over[1] if orientation in _BOTTOM_TO_TOP else 0.0
    return Reduced(size, (left, top, left + size[0] / factor, top + size[1] / factor))

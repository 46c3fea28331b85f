"""`kind: image`: crops, orientations and transparency are those that Pillow and numpy give, and extreme sizes fail alone."""

import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from sparktorch_assets.errors import TaskError
from sparktorch_assets.predict.encode.encoders import make_encoder
from sparktorch_assets.tasks import ImageFeature


def stored(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def encode(images, **declared):
    encoded = make_encoder(ImageFeature(column="i", **declared), ".").encode(pa.record_batch({"i": pa.array(images)}))
    (x_BCHW,) = encoded.collate(np.arange(len(images)))
    return x_BCHW.numpy().astype(float) * 255, encoded.failures


def noise(width, height, channels=3):
    return np.random.default_rng(width * 100 + height).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.promise("M140")
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.tuples(st.integers(1, 8), st.integers(1, 8)),
    st.integers(0, 9),
    st.sampled_from(["nearest", "bilinear", "bicubic"]),
)
def test_the_shortest_side_and_the_centre(width, height, crop, more, resample):
    """As torchvision's Resize(shortest) and CenterCrop give it."""
    shortest = max(crop) + more
    image = Image.fromarray(noise(width, height))
    longer = int(shortest * max(width, height) / min(width, height))
    size = (shortest, longer) if width <= height else (longer, shortest)
    resized = np.asarray(image.resize(size, getattr(Image.Resampling, resample.upper())))
    top, left = (round((have - want) / 2.0) for have, want in zip(resized.shape, crop, strict=False))
    wanted = resized[top : top + crop[0], left : left + crop[1]]
    (found,), _ = encode([stored(image)], height=crop[0], width=crop[1], shortest_side=shortest, resample=resample)
    assert np.allclose(found.transpose(1, 2, 0), wanted, atol=1e-3)


def test_16_bits_are_cropped_too():
    """With all their gradations."""
    ramp = np.arange(0, 65_536, 2048, dtype=np.uint16).reshape(4, 8)
    (found,), _ = encode([stored(Image.fromarray(ramp))], height=4, width=4, shortest_side=4, channels=1)
    assert np.allclose(found[0], ramp[:, 2:6] / 257, atol=1e-3)


@pytest.mark.promise("M141")
@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_photos_are_turned_only_on_request(orientation, kind):
    """By each of the eight orientations; Pillow itself turns a TIFF, and it is not turned twice."""
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    file = stored(Image.fromarray(noise(6, 4)), kind, exif=exif)
    plain = Image.open(io.BytesIO(file))
    for declared, wanted in ((True, ImageOps.exif_transpose(plain)), (False, plain)):
        pixels = np.asarray(wanted)
        (found,), failures = encode([file], height=pixels.shape[0], width=pixels.shape[1], exif_orientation=declared)
        assert not failures
        assert np.allclose(found.transpose(1, 2, 0), pixels, atol=1e-3)
    if orientation in range(5, 9):
        assert pixels.shape[:2] == ((6, 4) if kind == "TIFF" else (4, 6))


def test_an_orientation_changes_no_format():
    """PGM files of more than 8 bits are told by their format, which a copy would have lost."""
    ramp = np.array([[0, 257, 32_896, 65_535]], dtype=">u2")
    (found,), _ = encode([b"P5 4 1 65535\n" + ramp.tobytes()], height=1, width=4, channels=1, exif_orientation=True)
    assert np.allclose(found[0], ramp / 257, atol=1e-3)


@pytest.mark.promise("M142")
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_images_are_laid_on_the_background(mode):
    """By their alpha; without a background, the colours below it are seen."""
    rgba = noise(5, 3, 4)
    rgba[..., 1] = rgba[..., 2] = rgba[..., 0]  # grey, so that both modes can hold it
    file = stored(Image.fromarray(rgba).convert(mode))
    alpha = rgba[..., 3:] / 255.0
    (found,), _ = encode([file], height=3, width=5, background=0.5)
    assert np.abs(found.transpose(1, 2, 0) - (rgba[..., :3] * alpha + 128 * (1 - alpha))).max() <= 1
    (found,), _ = encode([file], height=3, width=5)
    assert np.allclose(found.transpose(1, 2, 0), rgba[..., :3], atol=1e-3)


@pytest.mark.promise("M142")
def test_transparent_colours_of_a_palette_are_laid_on_the_background():
    """GIF and PNG name a colour of the palette that is transparent."""
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 210, 220])
    image.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF"):
        (found,), _ = encode([stored(image, kind, transparency=0)], height=1, width=2, background=1.0)
        assert np.allclose(found[:, 0].T, [[255, 255, 255], [200, 210, 220]], atol=1e-3)


def test_opaque_images_have_no_background():
    image = noise(5, 3)
    (found,), _ = encode([stored(Image.fromarray(image))], height=3, width=5, background=1.0)
    assert np.allclose(found.transpose(1, 2, 0), image, atol=1e-3)


@pytest.mark.promise("M140")
def test_a_strip_that_would_grow_without_bounds_fails_alone():
    """The file of some hundred bytes would have become 256 x 15,360,000 pixels."""
    strip = Image.new("L", (1, 60_000))
    square = Image.new("L", (4, 4), 77)
    found, failures = encode([stored(square), stored(strip)], height=2, width=2, shortest_side=256, channels=1)
    assert {
        row: "would have 256 x 15360000 with a shortest side of 256" in one.message for row, one in failures.items()
    } == {1: True}
    assert np.allclose(found[0], 77)


def test_declarations_that_cannot_be_meant():
    with pytest.raises(TaskError, match="shortest_side=7 is too small for 4 x 8 pixels.* give at least 8"):
        ImageFeature(column="i", height=4, width=8, shortest_side=7)
    with pytest.raises(TaskError, match=r"background=255 must lie in \[0, 1\]"):
        ImageFeature(column="i", height=4, width=8, background=255)

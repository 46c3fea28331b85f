"""`jpeg_reducing_gap`: JPEG files that are decoded at a smaller size look the same, lie in the same place and fail alike."""

import io
import struct
import threading

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from sparktorch_assets.errors import TaskError
from sparktorch_assets.predict.encode import image as encode_image
from sparktorch_assets.predict.encode.encoders import make_encoder
from sparktorch_assets.predict.encode.reduced_jpeg import reduce_jpeg
from sparktorch_assets.tasks import ImageFeature


def stored(image, kind="JPEG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def encode_batch(images, *, origins=False, **declared):
    encoder = make_encoder(ImageFeature(column="i", **declared), ".", origins=origins)
    return encoder.encode(pa.record_batch({"i": images}))


def encode(images, **declared):
    """Pixels from 0 to 255, of images none of which fails."""
    encoded = encode_batch(images, **declared)
    assert not encoded.failures
    (x_BCHW,) = encoded.collate(np.arange(len(images)))
    return x_BCHW.numpy().astype(float) * 255


def scene(width, height):
    """Something like a photo: shades, edges, and details of all sizes, with less contrast the finer they are."""
    random = np.random.default_rng(0)
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequencies[0, 0] = 1
    waves = random.normal(size=(3, *frequencies.shape)) + 1j * random.normal(size=(3, *frequencies.shape))
    pixels = np.fft.irfft2(waves / frequencies, s=(height, width))
    pixels = 128 + 40 * pixels / pixels.std()
    pixels[:, height // 3 : height // 2, width // 3 : width // 2] += 60
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def is_reduced(file, gap, *size):
    image = Image.open(io.BytesIO(file))
    before = image.size
    reduce_jpeg(image, gap, lambda width, height: size, turned=False)
    return before[0] / image.size[0]


@pytest.mark.promise("M243")
@pytest.mark.parametrize(
    ("width", "height", "gap", "factor"),
    [
        (1024, 768, 1.5, 2),  # 768 / 224 = 3.4
        (1024, 768, 2, 1),
        (4000, 3000, 1.5, 8),
        (4000, 3000, 2, 4),
        (224 * 4, 224 * 4, 2, 2),
        (224 * 4 - 1, 5000, 2, 1),
        (300, 200, 1, 1),
    ],
)
def test_the_smallest_size_that_leaves_the_gap(width, height, gap, factor):
    """Both sides keep at least `gap` times their length in the tensor."""
    assert is_reduced(stored(Image.new("RGB", (width, height))), gap, 224, 224) == pytest.approx(factor, rel=0.01)


@pytest.mark.promise("M244")
@pytest.mark.parametrize(("gap", "mean", "most"), [(1.5, 2.6, 19), (2, 1.6, 13), (3, 0.8, 6)])
@pytest.mark.parametrize("resample", ["bilinear", "bicubic", "lanczos"])
def test_a_larger_gap_is_closer_to_full_decoding(gap, mean, most, resample):
    """Within these mean and largest differences, of 255."""
    size = {"height": round(192 / gap), "width": round(256 / gap), "resample": resample}
    file = stored(scene(515, 389), quality=90)
    (full,) = encode([file], **size)
    (reduced,) = encode([file], **size, jpeg_reducing_gap=gap)
    difference = np.abs(reduced - full)
    assert 0 < difference.mean() <= mean
    assert difference.max() <= most


@pytest.mark.promise("M243")
def test_everything_else_keeps_its_pixels():
    """Other formats, files that are not large enough, and images that are not resized are decoded as without a gap."""
    large, small = scene(400, 300), scene(90, 70)
    files = [
        *(stored(large, kind) for kind in ("PNG", "WEBP", "TIFF", "BMP")),
        stored(large, "TIFF", compression="jpeg"),
        stored(small),
        stored(small.resize((50, 50))),
        stored(scene(99, 400)),  # long, but not wide enough
    ]
    full = encode(files, height=50, width=50)
    found = encode(files, height=50, width=50, jpeg_reducing_gap=1)
    assert np.array_equal(found, full)


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "L"},
        {"mode": "CMYK"},
        {"progressive": True},
        {"subsampling": 0},
        {"subsampling": 1},
        {"restart_marker_rows": 1},
        {"kind": "MPO"},
        {"kind": "MPO", "save_all": True, "append_images": [Image.new("RGB", (40, 30))]},
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_jpeg(options, channels):
    """Grey and CMYK images, progressive ones, and the files of cameras that hold several."""
    options = dict(options)
    file = stored(
        scene(403, 301).convert(options.pop("mode", "RGB")), options.pop("kind", "JPEG"), quality=90, **options
    )
    full = encode([file], height=48, width=64, channels=channels)
    found = encode([file], height=48, width=64, channels=channels, jpeg_reducing_gap=2)
    assert is_reduced(file, 2, 64, 48) > 1.9
    assert not np.array_equal(found, full)
    assert np.abs(found - full).mean() < 2


@pytest.mark.promise("M245")
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("width", "height"), [(64, 64), (65, 67), (66, 80), (90, 73)])
@pytest.mark.parametrize("gap", [1, 1.5, 3])
def test_pixels_stay_where_they_are(orientation, width, height, gap):
    """Whatever the orientation and the number of pixels that 8 does not divide: a ramp keeps its values, which would
    differ by more if it were shifted or stretched by the part of a pixel that it does not fill."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    down, right = np.mgrid[:height, :width]
    pixels = np.stack([2.5 * right, 2.5 * down, 60 + right + down], axis=-1)
    file = stored(Image.fromarray(pixels.astype(np.uint8)), exif=exif, quality=98, subsampling=0)
    declared = {"height": 7, "width": 8, "exif_orientation": True}
    (full,), (found,) = (encode([file], jpeg_reducing_gap=each, **declared) for each in (None, gap))
    inside = (slice(None), slice(1, -1), slice(1, -1))  # beyond the edges there is no ramp
    assert np.abs(found[inside] - full[inside]).max() < 3.2


@pytest.mark.promise("M245")
def test_a_crop_is_cut_out_of_the_same_place():
    """With `shortest_side`, the size before the crop decides."""
    file = stored(scene(801, 402), quality=95)
    declared = {"height": 80, "width": 64, "shortest_side": 100, "crop_offset": "down"}
    (full,), (found,) = (encode([file], jpeg_reducing_gap=gap, **declared) for gap in (None, 2))
    assert 0 < np.abs(full - found).mean() < 1.3


@pytest.mark.promise("M245")
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("crop", [{}, {"shortest_side": 50}])
def test_boxes_are_in_pixels_of_the_original_image(turned, crop):
    """What relates the network's places to the image is the same as without a gap."""
    exif = Image.Exif()
    exif[0x0112] = 6
    files = [stored(scene(203, 301), exif=exif), stored(scene(60, 40)), None]
    declared = {"height": 40, "width": 48, "fill": 0.5, "exif_orientation": turned, **crop}
    full, found = (encode_batch(files, origins=True, jpeg_reducing_gap=gap, **declared).origins for gap in (None, 1.5))
    assert np.array_equal(found, full)


@pytest.mark.promise("M246")
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "optimize": True}])
def test_broken_files_fail_as_they_do_without_a_gap(options):
    """Wherever a file is cut off, and whichever byte is another one: the same rows fail, for the same reasons."""
    file = stored(scene(130, 100), quality=60, **options)
    random = np.random.default_rng(1)
    files = [file[:length] for length in range(0, len(file), 23)] + [file[:-length] for length in range(1, 40)]
    for place in random.integers(0, len(file), 300):
        changed = bytearray(file)
        changed[place] = random.integers(256)
        files.append(bytes(changed))
    failures = [encode_batch(files, height=30, width=30, jpeg_reducing_gap=gap).failures for gap in (None, 1)]
    assert failures[0] == failures[1]
    assert len(files) > len(failures[0]) > 100


@pytest.mark.promise("M246")
def test_files_that_cannot_be_reduced_are_decoded_at_their_own_size():
    """libjpeg has no reduced sizes of lossless JPEG files, which have no frequencies."""
    ramp = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8)
    file = lossless(ramp)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(file))), ramp)
    (full,) = encode([file], height=8, width=8, channels=1)
    (found,) = encode([file], height=8, width=8, channels=1, jpeg_reducing_gap=2)
    assert np.array_equal(found, full)


def lossless(grey):
    """A lossless JPEG file whose only code says that a pixel is one more than the one before it, or than the one above
    it in the first column."""
    height, width = grey.shape
    frame = struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0)
    codes = bytes([0, 1, 1, *[0] * 14, 1, 8])  # 0: a difference of one bit. 10: not used but for the first pixel
    scan = bytes([1, 1, 0, 1, 0, 0])
    # The first pixel is 128 less than its prediction: eight bits, of the complement.
    bits = "10" + format(-128 + 255, "08b") + "01" * (height * width - 1)
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    segments = ((0xC3, frame), (0xC4, codes), (0xDA, scan))
    written = b"".join(struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body for marker, body in segments)
    return b"\xff\xd8" + written + data + b"\xff\xd9"


@pytest.mark.promise("M246")
def test_the_limit_is_one_of_the_file(monkeypatch):
    """Not of the pixels that are made of it."""
    monkeypatch.setattr(encode_image, "MAX_PIXELS", 100 * 100)
    files = [stored(scene(101, 100)), stored(scene(100, 100))]
    found = encode_batch(files, height=9, width=9, jpeg_reducing_gap=1)
    assert {row: one.message for row, one in found.failures.items()} == {
        0: "the image has 101 x 100 pixels; at most 10,000 are decoded"
    }


@pytest.mark.parametrize("progressive", [False, True])
def test_only_what_is_held_as_a_whole_waits_for_other_large_images(progressive, monkeypatch):
    """libjpeg holds all frequencies of a progressive file, and a few rows of another one."""
    monkeypatch.setattr(encode_image, "LARGE_PIXELS", 100 * 100)
    file = stored(scene(160, 120), progressive=progressive)
    done = threading.Event()

    def decode():
        encode([file], height=20, width=20, jpeg_reducing_gap=2)
        done.set()

    thread = threading.Thread(target=decode)
    with encode_image._decodes_large:
        thread.start()
        assert done.wait(0.3 if progressive else 30) is not progressive
    thread.join()


@pytest.mark.promise("M244")
def test_what_cannot_be_meant_is_refused():
    """A gap below 1 would enlarge what was decoded too small, and averages are not pixels as they are."""
    for gap in (0.5, 0, -1, float("inf"), float("nan")):
        with pytest.raises(TaskError, match=r"jpeg_reducing_gap=.* must be a finite number of at least 1; try 2"):
            ImageFeature(column="i", height=4, width=8, jpeg_reducing_gap=gap)
    with pytest.raises(
        TaskError, match=r"makes averages of neighbouring pixels, and resample: nearest takes pixels as"
    ):
        ImageFeature(column="i", height=4, width=8, jpeg_reducing_gap=2, resample="nearest")

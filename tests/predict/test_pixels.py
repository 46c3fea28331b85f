"""Pixels that are normalized on the network's device are the same numbers as those that are normalized while decoding."""

import io

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sparktorch_assets.predict.encode.encoders import make_encoder
from sparktorch_assets.tasks import ImageFeature


def file_of(kind, seed):
    """An image of 5 x 7 pixels; of one byte per channel, of two, or none at all."""
    rng = np.random.default_rng(seed)
    if kind == "null":
        return None
    if kind == "broken":
        return b"no image"
    pixels = {
        "rgb": rng.integers(0, 256, (5, 7, 3)).astype(np.uint8),
        "grey": rng.integers(0, 256, (5, 7)).astype(np.uint8),
        "16 bits": rng.integers(0, 65536, (5, 7)).astype(np.uint16),
    }[kind]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


FEATURES = st.builds(
    ImageFeature,
    column=st.just("image"),
    height=st.just(5),
    width=st.sampled_from([7, 4]),
    channels=st.sampled_from([1, 3]),
    mean=st.sampled_from([(0.0,), (0.4821,)]),
    std=st.sampled_from([(1.0,), (0.2291,)]),
    fill=st.sampled_from([None, 0.0, 0.3]),
)
KINDS = st.sampled_from(["rgb", "grey", "16 bits", "null", "broken"])


def encoded(feature, kinds, *, on_device):
    files = pa.array([file_of(kind, seed) for seed, kind in enumerate(kinds)], pa.binary())
    return make_encoder(feature, ".", on_device=on_device).encode(pa.record_batch({"image": files}))


@pytest.mark.promise("M247")
@given(feature=FEATURES, kinds=st.lists(KINDS, min_size=1, max_size=6))
def test_the_numbers_are_the_same_to_the_last_bit(feature, kinds):
    """Whatever is between them: images of 16 bits, files that are missing or broken."""
    here, there = (encoded(feature, kinds, on_device=later) for later in (False, True))
    assert there.failures == here.failures
    assert there.shape == here.shape
    good = np.array([row for row in range(len(kinds)) if row not in here.failures], dtype=np.int64)
    if not len(good):
        return
    (expected,) = here.collate(good)
    (found,) = there.on_device(there.collate(good))
    assert torch.equal(found, expected)
    assert found.is_contiguous()


@given(kinds=st.lists(KINDS.filter(lambda kind: kind != "broken"), min_size=2, max_size=6), cut=st.integers(1, 5))
def test_parts_of_a_window_can_be_joined(kinds, cut):
    """Parts with bytes and parts with fractions: none counts as of another shape."""
    feature = ImageFeature(column="image", height=5, width=7, fill=0.3)
    parts = [part for part in (kinds[:cut], kinds[cut:]) if part]
    first, *others = (encoded(feature, part, on_device=True) for part in parts)
    assert {other.shape for other in others} <= {first.shape}
    joined = first.joined(others)
    rows = np.arange(len(kinds))
    (found,) = joined.on_device(joined.collate(rows))
    expected = [encoded(feature, part, on_device=False).collate(np.arange(len(part)))[0] for part in parts]
    assert torch.equal(found, torch.cat(expected))


@pytest.mark.parametrize("kinds", [["rgb", "grey"], ["rgb", "16 bits"]])
def test_only_bytes_are_copied_unless_a_window_has_fractions(kinds):
    feature = ImageFeature(column="image", height=5, width=7)
    (copied,) = encoded(feature, kinds, on_device=True).collate(np.arange(2))
    assert (copied.dtype == torch.uint8) == ("16 bits" not in kinds)

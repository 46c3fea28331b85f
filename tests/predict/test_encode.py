"""Encoders: the tensors that a model sees are exactly those that it was trained on, and a bad value fails its row."""

import io
import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers

from sparktorch_assets.errors import HookError, InputSchemaError, ModelError
from sparktorch_assets.predict.encode import make_encoder
from sparktorch_assets.tasks import (
    CategoricalFeature,
    CustomFeature,
    ImageFeature,
    NumericFeature,
    SequenceFeature,
    TextFeature,
)


def encode(feature, columns, root="."):
    from pathlib import Path

    encoded = make_encoder(feature, Path(root)).encode(pa.record_batch(columns))
    rows = np.arange(len(next(iter(columns.values()))))
    return encoded, encoded.collate(rows)


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def test_numbers_keep_the_declared_order():
    """Columns of any numeric type become float32, in the order of declaration."""
    feature = NumericFeature(columns=["b", "a", "flag"], fill=-1)
    _, (x_BF,) = encode(feature, {"a": pa.array([1, None]), "flag": pa.array([True, False]), "b": pa.array([0.5, 2.0])})
    assert x_BF.tolist() == [[0.5, 1.0, 1.0], [2.0, -1.0, 0.0]]
    assert x_BF.dtype == torch.float32


@pytest.mark.parametrize("from_file", [True, False])
def test_categories_unknown_and_null(from_file, tmp_path):
    """Known values count from 1, unknown ones and a fill outside the vocabulary are 0, numbers are looked up as text."""
    vocabulary = {"c": ["x", "y"], "n": ["1", "2"]}
    (tmp_path / "v.json").write_text(json.dumps(vocabulary))
    feature = CategoricalFeature(columns=["n", "c"], vocabulary="v.json" if from_file else vocabulary, fill="")
    _, (c_BK,) = encode(feature, {"c": pa.array(["y", "?", None]), "n": pa.array([1, 2, 3])}, tmp_path)
    assert c_BK.tolist() == [[1, 2], [2, 0], [0, 0]]


def test_dictionary_encoded_strings_are_categories_too():
    """Parquet readers may hand out dictionary arrays."""
    feature = CategoricalFeature(columns=["c"], vocabulary={"c": ["x", "y"]})
    _, (c_BK,) = encode(feature, {"c": pa.array(["y", "x"]).dictionary_encode()})
    assert c_BK.tolist() == [[2], [1]]


@pytest.mark.parametrize(
    ("content", "message"), [(None, "there is no vocabulary file"), ("[", "is not JSON"), ("[1]", "one object")]
)
def test_vocabulary_file_that_cannot_be_used(content, message, tmp_path):
    """The message names the file and what it must hold."""
    if content is not None:
        (tmp_path / "v.json").write_text(content)
    with pytest.raises(ModelError, match=message):
        make_encoder(CategoricalFeature(columns=["c"], vocabulary="v.json"), tmp_path)


@given(st.lists(st.text(max_size=12), min_size=1, max_size=8), st.integers(1, 10), st.integers(0, 3))
def test_bytes_of_any_text(texts, max_tokens, start):
    """Row i's tokens are its UTF-8 bytes + 1, cut and padded with 0, also in a slice of a larger array."""
    column = pa.array(["padding"] * start + texts).slice(start)
    encoded, (ids_BT, mask_BT) = encode(TextFeature(column="t", max_tokens=max_tokens), {"t": column})
    for row, text in enumerate(texts):
        expected = [byte + 1 for byte in text.encode()[:max_tokens]]
        assert ids_BT[row][mask_BT[row]].tolist() == expected
        assert ids_BT[row][~mask_BT[row]].sum() == 0
        assert encoded.lengths_N[row] == len(expected)
    backwards = np.arange(len(texts))[::-1].copy()
    ids, mask = encoded.collate(backwards)
    assert [ids[i][mask[i]].tolist() for i in range(len(texts))] == [
        ids_BT[i][mask_BT[i]].tolist() for i in range(len(texts))
    ][::-1]


def test_tokenizers_file(tmp_path):
    """A `tokenizers` JSON file is read; texts are cut to max_tokens."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "t.json"))
    feature = TextFeature(column="t", tokenizer="t.json", max_tokens=2)
    _, (ids_BT, mask_BT) = encode(feature, {"t": pa.array(["a b a", "b"])}, tmp_path)
    assert ids_BT.tolist() == [[1, 2], [2, 0]]
    assert mask_BT.tolist() == [[True, True], [True, False]]


def test_images_are_resized_scaled_and_normalised():
    """(pixel / 255 - mean) / std, channels first; other sizes and modes are converted."""
    grey = np.full((4, 4), 51, dtype=np.uint8)
    colour = np.dstack([np.full((2, 2), value, dtype=np.uint8) for value in (51, 51, 51)])
    feature = ImageFeature(column="i", height=2, width=2, channels=1, mean=(0.1,), std=(0.5,))
    _, (x_BCHW,) = encode(feature, {"i": pa.array([png(grey), png(colour)])})
    assert x_BCHW.shape == (2, 1, 2, 2)
    assert torch.allclose(x_BCHW, torch.full((2, 1, 2, 2), (0.2 - 0.1) / 0.5), atol=1e-6)


def test_a_broken_image_fails_alone():
    """The reason is Pillow's own; the neighbours are decoded."""
    good = png(np.zeros((2, 2), dtype=np.uint8))
    feature = ImageFeature(column="i", height=2, width=2, channels=1)
    encoded, _ = encode(feature, {"i": pa.array([good, b"not an image", good[:20], None])})
    assert {row: failure.kind for row, failure in encoded.failures.items()} == {
        1: "UnidentifiedImageError",
        2: "OSError",  # cut short
        3: "Null",
    }


class Doubles:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, batch):
        return torch.from_numpy(batch.column("a").to_numpy(zero_copy_only=False) * self.factor).float().view(-1, 1)


def wrong_size():
    return lambda batch: torch.zeros(1)


def test_custom_encoder():
    """A user's encoder gets its arguments and the columns it names."""
    feature = CustomFeature(columns=["a"], encoder=f"{__name__}:Doubles", arguments={"factor": 2})
    _, (x_BF,) = encode(feature, {"a": pa.array([1.0, 2.0]), "b": pa.array([0, 0])})
    assert x_BF.tolist() == [[2.0], [4.0]]


def test_custom_encoder_is_held_to_its_contract():
    """One entry a row, or an error that says what came."""
    with pytest.raises(HookError, match=r"gave \(1,\) for 2 rows"):
        encode(CustomFeature(columns=["a"], encoder=f"{__name__}:wrong_size"), {"a": pa.array([1, 2])})


LISTS = [pa.list_(pa.int32()), pa.large_list(pa.int64()), pa.list_(pa.float64()), pa.list_(pa.bool_())]


@given(
    st.lists(st.none() | st.lists(st.none() | st.integers(0, 1), max_size=6), min_size=1, max_size=8),
    st.sampled_from(LISTS),
    st.sampled_from(["float32", "int64"]),
    st.integers(1, 7),
    st.integers(0, 3),
    st.booleans(),
)
def test_sequences_of_any_length(lists, kind, dtype, max_length, start, filled):
    """Row i's values are its list, cut and padded with 0, also in a slice of a larger array; a null fails its row, or is
    the fill; a null in place of a list is then an empty one."""
    column = pa.array([[1]] * start + lists, pa.list_(pa.int64())).cast(kind).slice(start)
    feature = SequenceFeature(column="s", dtype=dtype, max_length=max_length, fill=1 if filled else None)
    encoded, (values_BT, mask_BT) = encode(feature, {"s": column})
    assert values_BT.dtype == getattr(torch, dtype)
    for row, values in enumerate(lists):
        cut = (values or [])[:max_length]
        fails = not filled and (values is None or None in cut)
        assert (row in encoded.failures) == fails
        if not fails:
            expected = [1 if value is None else value for value in cut]
            assert values_BT[row][mask_BT[row]].tolist() == expected
            assert values_BT[row][~mask_BT[row]].sum() == 0
            assert encoded.lengths_N[row] == len(expected)


def test_sequences_of_one_length():
    """Lists of a fixed size, such as embeddings made upstream, are sequences too."""
    column = pa.array([[1.5, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2))
    _, (values_BT, mask_BT) = encode(SequenceFeature(column="s"), {"s": column})
    assert values_BT.tolist() == [[1.5, 2.0], [3.0, 4.0]]
    assert mask_BT.all()


@pytest.mark.parametrize("column", [pa.nulls(2), pa.array([[], []]), pa.array([[], None], pa.list_(pa.int8()))])
def test_sequences_without_a_value(column):
    """What rows of dicts become where no list holds anything; the declared dtype stays."""
    _, (values_BT, mask_BT) = encode(SequenceFeature(column="s", fill=0.0), {"s": column})
    assert values_BT.tolist() == [[0.0], [0.0]]
    assert values_BT.dtype == torch.float32
    assert not mask_BT.any()


def test_a_fraction_is_no_id():
    """int64 values are not cut to whole numbers in silence."""
    with pytest.raises(pa.ArrowInvalid, match="was truncated converting to int64"):
        encode(SequenceFeature(column="s", dtype="int64"), {"s": pa.array([[1.5]])})


def test_what_is_no_sequence_of_numbers_is_named():
    """The message says the column and what it holds."""
    with pytest.raises(InputSchemaError, match=r"column 's' has type list<item: string>; a sequence must be a list"):
        encode(SequenceFeature(column="s"), {"s": pa.array([["a"]])})


class Letters:
    """A user's encoder of its own lengths."""

    def __call__(self, batch):
        return pa.array(
            [[ord(letter) for letter in text] for text in batch.column("t").to_pylist()], pa.list_(pa.int16())
        )


def test_a_users_encoder_may_give_sequences():
    """Declared as such, its lists become values and a mask, and their lengths are known."""
    feature = CustomFeature(columns=["t"], encoder=f"{__name__}:Letters", sequences=True)
    encoded, (values_BT, mask_BT) = encode(feature, {"t": pa.array(["a", "", "bc"])})
    assert values_BT.tolist() == [[97, 0], [0, 0], [98, 99]]
    assert mask_BT.sum(dim=1).tolist() == encoded.lengths_N.tolist() == [1, 0, 2]
    with pytest.raises(HookError, match=r"gave Tensor for 2 rows; a pyarrow.ListArray with one list a row is due"):
        encode(
            CustomFeature(columns=["a"], encoder=f"{__name__}:Doubles", sequences=True, arguments={"factor": 2}),
            {"a": pa.array([1, 2])},
        )

"""Encoders: the tensors that a model sees are exactly those that it was trained on, and a bad value fails its row."""

import datetime as dt
import decimal
import io
import json
import resource
import struct
import tempfile
import threading
import time
import zlib

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers

from sparktorch_assets.errors import HookError, InputSchemaError, ModelError
from sparktorch_assets.predict.encode.encoders import make_encoder
from sparktorch_assets.predict.encode.image import ImageEncoder
from sparktorch_assets.predict.local import LocalPredictor
from sparktorch_assets.predict.partition import predict_keyed, predict_map
from sparktorch_assets.predict.schema import output_schema
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import (
    BatchPolicy,
    CategoricalFeature,
    CustomFeature,
    ImageFeature,
    MlTask,
    ModelSpec,
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


@pytest.mark.promise("M26")
def test_numbers_keep_the_declared_order():
    """Columns of any numeric type become float32, in the order of declaration."""
    feature = NumericFeature(columns=["b", "a", "flag"], fill=-1)
    _, (x_BF,) = encode(feature, {"a": pa.array([1, None]), "flag": pa.array([True, False]), "b": pa.array([0.5, 2.0])})
    assert x_BF.tolist() == [[0.5, 1.0, 1.0], [2.0, -1.0, 0.0]]
    assert x_BF.dtype == torch.float32


@pytest.mark.promise("M27")
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


@given(
    values=st.lists(st.none() | st.sampled_from(["a", "b", "0", "zz", ""]), min_size=1, max_size=8),
    fill=st.sampled_from([None, "b", "unknown"]),
    kind=st.sampled_from([pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]),
)
def test_a_large_vocabulary_means_the_same_as_a_small_one(values, fill, kind):
    """Whether the vocabulary has many more entries than the window has rows changes no index and no failure."""
    known = ["a", "b", "0", ""]
    large = [*known, *(f"entry {number}" for number in range(200))]
    column = pa.array(values, pa.string()).cast(kind)
    found = [
        make_encoder(CategoricalFeature(columns=["c"], vocabulary={"c": entries}, fill=fill), ".").encode(
            pa.record_batch({"c": column})
        )
        for entries in (known, large)
    ]
    few, many = ((one.collate(np.arange(len(values)))[0].tolist(), one.failures) for one in found)
    assert few == many


@pytest.mark.parametrize(
    ("content", "message"), [(None, "there is no vocabulary file"), ("[", "is not JSON"), ("[1]", "one object")]
)
def test_vocabulary_file_that_cannot_be_used(content, message, tmp_path):
    """The message names the file and what it must hold."""
    if content is not None:
        (tmp_path / "v.json").write_text(content)
    with pytest.raises(ModelError, match=message):
        make_encoder(CategoricalFeature(columns=["c"], vocabulary="v.json"), tmp_path)


@pytest.mark.promise("M28", "M33")
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


@pytest.mark.promise("M28")
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_bytes_that_are_cut_off_take_no_memory(side, kind):
    """Of texts of a megabyte, only the tokens that the model sees are held: their buffer has their size."""
    texts = ["x" + "y" * 1_000_000 + "z", None, "", "short"]
    feature = TextFeature(column="t", max_tokens=5, truncation_side=side, fill="")
    rows = pa.record_batch({"t": pa.array(texts, kind)}).slice(0, 4)
    encoded = make_encoder(feature, ".").encode(rows)
    assert encoded.nbytes < 1_000
    ids = encoded.collate(np.arange(4))[0].tolist()
    cut = b"xyyyy" if side == "right" else b"yyyyz"
    assert ids[0] == [byte + 1 for byte in cut]
    assert ids[3] == [byte + 1 for byte in b"short"]
    assert encoded.truncated_N.tolist() == [True, False, False, False]


def test_tokenizers_file(tmp_path):
    """A `tokenizers` JSON file is read; texts are cut to max_tokens."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "t.json"))
    feature = TextFeature(column="t", tokenizer="t.json", max_tokens=2)
    _, (ids_BT, mask_BT) = encode(feature, {"t": pa.array(["a b a", "b"])}, tmp_path)
    assert ids_BT.tolist() == [[1, 2], [2, 0]]
    assert mask_BT.tolist() == [[True, True], [True, False]]


@pytest.mark.promise("M30")
def test_images_are_resized_scaled_and_normalised():
    """(pixel / 255 - mean) / std, channels first; other sizes and modes are converted."""
    grey = np.full((4, 4), 51, dtype=np.uint8)
    colour = np.dstack([np.full((2, 2), value, dtype=np.uint8) for value in (51, 51, 51)])
    feature = ImageFeature(column="i", height=2, width=2, channels=1, mean=(0.1,), std=(0.5,))
    _, (x_BCHW,) = encode(feature, {"i": pa.array([png(grey), png(colour)])})
    assert x_BCHW.shape == (2, 1, 2, 2)
    assert torch.allclose(x_BCHW, torch.full((2, 1, 2, 2), (0.2 - 0.1) / 0.5), atol=1e-6)


@pytest.mark.promise("M57")
def test_equal_broken_images_get_equal_reasons(tmp_path):
    """What Pillow says of one would be another text on every run: it names a place in memory."""
    encoder = make_encoder(ImageFeature(column="image", height=2, width=2), tmp_path)
    batch = pa.record_batch({"image": [b"broken", b"broken"]})
    one, other = encoder.encode(batch).failures.values()
    assert one == other
    assert one.text == "encode: UnidentifiedImageError: cannot identify the format of the image, 6 bytes"


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


@pytest.mark.promise("M31")
def test_custom_encoder():
    """A user's encoder gets its arguments and the columns it names."""
    feature = CustomFeature(columns=["a"], encoder=f"{__name__}:Doubles", arguments={"factor": 2})
    _, (x_BF,) = encode(feature, {"a": pa.array([1.0, 2.0]), "b": pa.array([0, 0])})
    assert x_BF.tolist() == [[2.0], [4.0]]


def test_custom_encoder_is_held_to_its_contract():
    """One entry a row, or an error that says what came."""
    with pytest.raises(HookError, match=r"returned \(1,\) for 2 rows"):
        encode(CustomFeature(columns=["a"], encoder=f"{__name__}:wrong_size"), {"a": pa.array([1, 2])})


LISTS = [pa.list_(pa.int32()), pa.large_list(pa.int64()), pa.list_(pa.float64()), pa.list_(pa.bool_())]


@pytest.mark.promise("M29", "M33")
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


@pytest.mark.promise("M29")
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


@pytest.mark.promise("M31")
def test_a_users_encoder_may_give_sequences():
    """Declared as such, its lists become values and a mask, and their lengths are known."""
    feature = CustomFeature(columns=["t"], encoder=f"{__name__}:Letters", sequences=True)
    encoded, (values_BT, mask_BT) = encode(feature, {"t": pa.array(["a", "", "bc"])})
    assert values_BT.tolist() == [[97, 0], [0, 0], [98, 99]]
    assert mask_BT.sum(dim=1).tolist() == encoded.lengths_N.tolist() == [1, 0, 2]
    with pytest.raises(
        HookError, match=r"returned Tensor for 2 rows; expected a pyarrow.ListArray with one list per row"
    ):
        encode(
            CustomFeature(columns=["a"], encoder=f"{__name__}:Doubles", sequences=True, arguments={"factor": 2}),
            {"a": pa.array([1, 2])},
        )


def encode_alone(feature, column, kind, entries_root="."):
    return encode(feature, {"c": pa.array(column, kind)}, entries_root)[1][0][:, 0].tolist()


DATE = dt.date(2020, 1, 1)


@pytest.mark.promise("M35")
@pytest.mark.parametrize(
    ("kind", "values", "entries"),
    [
        (pa.bool_(), [False, True], [[False, True], ["False", "True"], ["false", "true"], [0, 1]]),
        *(
            (kind, [1, 2], [[1, 2], [1.0, 2.0], ["1", "2"], ["1.0", "2.0"]])
            for kind in (pa.int8(), pa.int64(), pa.uint32(), pa.float32(), pa.float64())
        ),
        (pa.float32(), [0.5, 1e20], [[0.5, 1e20], ["0.5", "1e20"], ["0.50", "1e+20"]]),
        (pa.decimal128(10, 2), [decimal.Decimal("1.50"), 2], [["1.5", "2"], [decimal.Decimal("1.5"), 2], ["1.50", "2.00"]]),
        (pa.string(), ["a", "1"], [["a", "1"], ["a", 1]]),
        (pa.large_string(), ["a", "b"], [["a", "b"]]),
        (pa.binary(), [b"a", b"b"], [["a", "b"]]),
        (pa.date32(), [DATE, dt.date(2021, 1, 1)], [["2020-01-01", "2021-01-01"], [DATE, dt.date(2021, 1, 1)]]),
        (pa.timestamp("us"), [0, 10**6], [["1970-01-01", "1970-01-01 00:00:01"], ["1970-01-01T00:00:00", "1970-01-01 00:00:01.0"]]),
        (pa.timestamp("ns", "UTC"), [0, 10**9], [["1970-01-01T00:00:00Z", "1970-01-01 00:00:01Z"]]),
    ],
    ids=str,
)  # fmt: skip
def test_vocabulary_entries_are_values_of_the_columns_type(kind, values, entries):
    """However an entry is written, it stands for the value that the column's type makes of it; a dictionary as its values."""
    for vocabulary in entries:
        feature = CategoricalFeature(columns=["c"], vocabulary={"c": vocabulary}, fill=str(vocabulary[1]))
        assert encode_alone(feature, [*values, None], kind) == [1, 2, 2]
        coded = pa.array([*values, None], kind).dictionary_encode()
        assert encode(feature, {"c": coded})[1][0][:, 0].tolist() == [1, 2, 2]


@pytest.mark.promise("M36")
@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64(), pa.dictionary(pa.int8(), pa.float64())])
@pytest.mark.parametrize("vocabulary", [[1, 0], ["1", "-0.0"], [1.0, -0.0], ["1", "0"]])
def test_negative_zero_is_zero(kind, vocabulary):
    """As for filters, and in every comparison of numbers."""
    value_kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    values = pa.array(np.array([-0.0, 0.0, 1.0, -1.0, 10.0]).astype(value_kind.to_pandas_dtype()))
    column = values.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else values
    _, (c_BK,) = encode(CategoricalFeature(columns=["c"], vocabulary={"c": vocabulary}), {"c": column})
    assert c_BK[:, 0].tolist() == [2, 2, 1, 0, 0]


@pytest.mark.parametrize(
    ("kind", "vocabulary"),
    [(pa.int64(), ["x", "y"]), (pa.bool_(), ["yes", "no"]), (pa.date32(), [7]), (pa.float64(), ["many"])],
)
def test_a_vocabulary_that_no_value_can_match_is_refused(kind, vocabulary):
    """Every row would be unknown, in silence. One entry that can match is enough."""
    feature = CategoricalFeature(columns=["c"], vocabulary={"c": vocabulary})
    with pytest.raises(
        InputSchemaError, match=f"column 'c' has type .*no entry of its vocabulary \\({vocabulary[0]!r}"
    ):
        encode_alone(feature, [None], kind)
    feature = CategoricalFeature(columns=["c"], vocabulary={"c": ["odd", "1", "true", "2020-01-01"]})
    encode_alone(feature, [None], kind)


def test_the_entry_that_reads_like_the_value_goes_before_others_that_mean_the_same():
    """Both "01" and "1" are the number 1, and there is one row for it."""
    feature = CategoricalFeature(columns=["c"], vocabulary={"c": ["01", "1", "2"]})
    assert encode_alone(feature, [1, 2, 3], pa.int64()) == [2, 3, 0]
    assert encode_alone(feature, ["01", "1"], pa.string()) == [1, 2]


@pytest.mark.parametrize("tokenizer", ["bytes", "t.json"])
@pytest.mark.parametrize("kind", [pa.null(), pa.string(), pa.large_string()])
@pytest.mark.parametrize("fill", [None, "a", ""])
def test_a_window_without_any_text(tokenizer, kind, fill, tmp_path):
    """With a fill, all rows are that text; without one, all fail alone."""
    model = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    model.save(str(tmp_path / "t.json"))
    feature = TextFeature(column="t", tokenizer=tokenizer, fill=fill)
    encoded, (_, mask_BT) = encode(feature, {"t": pa.nulls(3, kind)}, tmp_path)
    assert set(encoded.failures) == (set() if fill is not None else {0, 1, 2})
    assert mask_BT.sum().item() == (3 if fill else 0)


@pytest.mark.promise("M34")
@given(st.lists(st.none() | st.text("ab ", max_size=6), min_size=1, max_size=8), st.integers(1, 4))
def test_rows_that_are_cut_are_told(texts, most):
    """Exactly those that are longer than the feature allows, of bytes, tokens and values."""
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    with tempfile.TemporaryDirectory() as folder:
        words.save(f"{folder}/t.json")
        lengths = {
            "bytes": [len(text or "") for text in texts],
            "t.json": [len((text or "").split()) for text in texts],
        }
        for tokenizer, due in lengths.items():
            feature = TextFeature(column="t", tokenizer=tokenizer, max_tokens=most, fill="")
            encoded, _ = encode(feature, {"t": pa.array(texts, pa.string())}, folder)
            assert encoded.truncated_N.tolist() == [length > most for length in due]
    lists = pa.array([None if text is None else [1] * len(text) for text in texts], pa.list_(pa.int64()))
    encoded, _ = encode(SequenceFeature(column="s", max_length=most, fill=0), {"s": lists})
    assert encoded.truncated_N.tolist() == [len(text or "") > most for text in texts]


def picture(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


RAMP_16 = np.array([[0, 257, 32_896, 65_535]], dtype=np.uint16)
RAMP_8 = (RAMP_16 / 257).astype(np.uint8)


@pytest.mark.promise("M37")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("encoded", "due"),
    [
        (picture(Image.fromarray(RAMP_16)), RAMP_16 / 65_535),
        (picture(Image.fromarray(RAMP_16), "TIFF"), RAMP_16 / 65_535),
        (picture(Image.frombytes("I;16B", (4, 1), RAMP_16.astype(">u2").tobytes()), "TIFF"), RAMP_16 / 65_535),
        (b"P5 4 1 65535\n" + RAMP_16.astype(">u2").tobytes(), RAMP_16 / 65_535),
        (b"P5 4 1 65535\n" + (RAMP_16 // 257).astype(">u2").tobytes(), RAMP_16 // 257 / 65_535),
        (
            b"P5 4 1 1023\n" + np.array([0, 1, 512, 1023], ">u2").tobytes(),
            np.rint(np.array([[0, 1, 512, 1023]]) * 65_535 / 1023) / 65_535,
        ),
        (picture(Image.fromarray(RAMP_8)), RAMP_8 / 255),
        (picture(Image.fromarray(np.dstack([RAMP_8] * 3))), RAMP_8 / 255),
        (picture(Image.merge("LA", [Image.fromarray(RAMP_8)] * 2)), RAMP_8 / 255),
        (picture(Image.fromarray(np.dstack([RAMP_8] * 4))), RAMP_8 / 255),
        (picture(Image.fromarray(RAMP_8).convert("P")), RAMP_8 / 255),
        (picture(Image.fromarray(RAMP_8 > 100)), np.array([[0.0, 0.0, 1.0, 1.0]])),
        (picture(Image.fromarray(np.dstack([RAMP_8] * 3)).convert("CMYK"), "TIFF"), RAMP_8 / 255),
        (picture(Image.fromarray(RAMP_8.astype(np.int32)), "TIFF"), RAMP_8 / 255),
        (picture(Image.fromarray(RAMP_8.astype(np.float32)), "TIFF"), RAMP_8 / 255),
        (
            picture(Image.fromarray(RAMP_8), "GIF", save_all=True, append_images=[Image.fromarray(255 - RAMP_8)]),
            RAMP_8 / 255,
        ),
    ],
    ids=[
        "I;16",
        "I;16 tiff",
        "I;16B",
        "PGM",
        "dark PGM",
        "PGM 10 bits",
        "L",
        "RGB",
        "LA",
        "RGBA",
        "P",
        "1",
        "CMYK",
        "I",
        "F",
        "animated",
    ],
)
def test_white_is_white_whatever_the_image_holds(encoded, due, channels):
    """16 bits keep their steps; palettes, alpha, print colours and the first of several frames are as Pillow makes them."""
    feature = ImageFeature(column="i", height=1, width=4, channels=channels)
    found, (x_BCHW,) = encode(feature, {"i": pa.array([encoded])})
    assert not found.failures
    assert np.allclose(x_BCHW[0].numpy(), due, atol=1e-6)
    feature = ImageFeature(column="i", height=2, width=2, channels=channels, resample="bicubic")
    resized = encode(feature, {"i": pa.array([encoded])})[1][0]
    assert 0 <= float(resized.min()) <= float(resized.max()) <= 1


@pytest.mark.promise("M38")
def test_pixels_without_a_known_white_fail_their_row():
    """32-bit pixels beyond 8 bits are not cut to white."""
    images = [
        picture(Image.fromarray(np.full((2, 2), value, dtype=kind)), "TIFF")
        for value, kind in (
            *((70_000, np.int32), (256.5, np.float32), (-1, np.int32), (1.0, np.float32), (0.5, np.float32)),
            *((7, np.int32), (1, np.int32), (0.0, np.float32), (1.5, np.float32)),
        )
    ]
    found, _ = encode(ImageFeature(column="i", height=2, width=2, channels=1), {"i": pa.array(images)})
    assert sorted(found.failures) == [0, 1, 2, 3, 4]
    assert "have no known white" in found.failures[0].message


def bomb(width, height):
    """A PNG of few bytes that asks for width x height pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def icon(kind):
    """An icon that says 16 x 16, and holds a PNG of 9,000 x 9,000 pixels."""
    inner = picture(Image.new("L", (9_000, 9_000)))
    if kind == "ICO":
        return struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 8, len(inner), 22) + inner
    return b"icns" + struct.pack(">I", len(inner) + 16) + b"icp4" + struct.pack(">I", len(inner) + 8) + inner


def text_bomb():
    """A PNG with a text of 200 MB in a chunk of 200 KB."""
    data = b"k\0\0" + zlib.compress(b"x" * 200_000_000, 9)
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    good = png(np.zeros((2, 2), dtype=np.uint8))
    return good[:33] + chunk + good[33:]


ICO, ICNS = icon("ICO"), icon("ICNS")  # made beforehand: the measurement below is of decoding alone


@pytest.mark.promise("M38")
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bomb(8_193, 8_192), "8193 x 8192 pixels; at most 67,108,864 are decoded"),
        (bomb(12_000, 10_000), "12000 x 10000 pixels"),
        (bomb(60_000, 60_000), "decompression bomb"),
        (text_bomb(), ""),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 2 2\n%%EndComments\n%%EOF\n", "cannot identify"),
        (ICO, "cannot "),
        (ICNS, "cannot identify"),
        (b"", "cannot identify"),
    ],
    ids=["just over", "over", "far over", "text", "eps", "ico", "icns", "empty"],
)
def test_an_image_bomb_costs_its_row_and_no_memory(data, message):
    """Pixels are counted before one is decoded; what another program would decode is not opened."""
    good = png(np.zeros((2, 2), dtype=np.uint8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found, _ = encode(ImageFeature(column="i", height=2, width=2, channels=1), {"i": pa.array([good, data, good])})
    assert list(found.failures) == [1]
    assert message in found.failures[1].message
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000  # KiB: the text alone would take more


def test_large_images_are_decoded_one_at_a_time(monkeypatch):
    """Threads do not multiply the memory of large images, and small ones do not wait for each other."""
    at_work, most, together = set(), [0], threading.Barrier(2, timeout=20)
    decode = ImageEncoder._pixels

    def watched(self, image, reduced):
        at_work.add(threading.get_ident())
        most[0] = max(most[0], len(at_work))
        if image.width == 2:
            together.wait()
        time.sleep(0.01)
        try:
            return decode(self, image, reduced)
        finally:
            at_work.discard(threading.get_ident())

    monkeypatch.setattr(ImageEncoder, "_pixels", watched)
    monkeypatch.setattr("sparktorch_assets.predict.encode.image.LARGE_PIXELS", 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    feature = ImageFeature(column="i", height=2, width=2, channels=1)
    for side, expected in ((3, 1), (2, 2)):
        most[0] = 0
        images = [png(np.zeros((side, side), dtype=np.uint8))] * (2 if side == 2 else 8)
        found, _ = encode(feature, {"i": pa.array(images)})
        assert (most[0], found.failures) == (expected, {})


def test_a_file_that_is_cut_short_fails_wherever_it_ends():
    """Any prefix of a PNG, JPEG or GIF is a failed row, or an image that Pillow takes for whole."""
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    whole = [picture(Image.fromarray(pixels), kind) for kind in ("PNG", "JPEG", "GIF", "TIFF")]
    cut = [data[:end] for data in whole for end in range(0, len(data), 7)]
    found, (x_BCHW,) = encode(ImageFeature(column="i", height=8, width=8, channels=1), {"i": pa.array([*cut, *whole])})
    assert not set(found.failures) & set(range(len(cut), len(cut) + 4))
    assert len(found.failures) > len(cut) // 2
    assert x_BCHW.shape[0] == len(cut) + 4


class Stacks:
    """A user's encoder that stacks what it finds: rows of different lengths cannot be, and neither can no rows."""

    def __call__(self, batch):
        return torch.stack([torch.tensor(values, dtype=torch.float32) for values in batch.column("l").to_pylist()])


@pytest.mark.parametrize(
    ("lists", "failing"),
    [
        ([[1.0, 2.0]] * 6 + [[1.0]] + [[-3.0, 1.0]] * 3, {6}),
        ([[1.0]] * 2 + [[1.0, 2.0]] * 8, {0, 1}),
        ([[1.0, 2.0]] * 4 + [None] + [["x"]] + [[1.0, -2.0]] * 4, None),
        ([None] * 5, {0, 1, 2, 3, 4}),
    ],
)
def test_rows_that_a_users_encoder_cannot_stack_fail_alone(lists, failing, loader):
    """Those of another shape than most, in any place; also where no row of the window can be encoded."""
    if failing is None:
        lists, failing = [values if values != ["x"] else [1.0] for values in lists], {4, 5}
    task = MlTask(
        name="stacks",
        input="table",
        model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
        features=[CustomFeature(columns=["l"], encoder=f"{__name__}:Stacks")],
        labels=["0", "1"],
        batch=BatchPolicy(batch_size=10),
    )
    batch = pa.record_batch({"l": pa.array(lists, pa.list_(pa.float64()))})
    rows = pa.Table.from_batches(predict_map(0, [batch], task, model_loader=loader)).to_pylist()
    assert {row for row, found in enumerate(rows) if found["prediction_error"]} == failing
    for row, values in enumerate(lists):
        if row not in failing:
            assert rows[row]["predicted_class"] == ("1" if sum(values) > 0 else "0")


class Sums(torch.nn.Module):
    def forward(self, values_BT, mask_BT):
        return torch.stack([(values_BT * mask_BT).sum(dim=1), torch.zeros(len(values_BT))], dim=1)


def sums(_weights, _device):
    return Sums()


@pytest.mark.promise("M34")
@pytest.mark.parametrize("deduplicate", [False, True])
def test_cut_rows_are_counted_with_the_table_that_they_are_in(deduplicate, loader):
    """Per key, once per row, and only rows that were predicted."""
    task = MlTask(
        name="cut",
        input="table",
        model=ModelSpec(factory=f"{__name__}:sums"),
        features=[SequenceFeature(column="s", max_length=2)],
        labels=["0", "1"],
        batch=BatchPolicy(batch_size=4, deduplicate=deduplicate),
    )
    batches = [
        (key, pa.record_batch({"s": pa.array(lists, pa.list_(pa.float32()))}))
        for key, lists in enumerate([[[1.0] * 3, [1.0] * 2, [1.0] * 3], [[1.0]], [None, [None] * 9, [2.0] * 9]])
    ]
    tallies = [Tally(), Tally(), Tally()]
    predictor = LocalPredictor(task, model_loader=loader)
    schema = output_schema(task, batches[0][1].schema)
    found = list(predict_keyed(batches, predictor=predictor, schema=schema, tally_of=tallies.__getitem__))
    assert sum(batch.num_rows for _, batch in found) == 7
    assert [tally.truncated for tally in tallies] == [2, 0, 1]

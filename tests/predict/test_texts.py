"""`kind: text`: pairs, templates, both sides of truncation, padding and type ids are those of the `tokenizers` library."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from sparktorch_assets.errors import TaskError
from sparktorch_assets.predict.encode.encoders import make_encoder
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tasks import MlTask, ModelSpec, RegressionOutput, TextFeature

WORDS = {"[UNK]": 0, "a": 1, "b": 2, "c": 3, "[CLS]": 4, "[SEP]": 5, "query": 6, ":": 7, "[PAD]": 9}
PAD, PAD_TYPE = 9, 2


def bert(padded=True):
    """A tokenizer that joins pairs as BERT's does, and declares its padding."""
    made = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 4), ("[SEP]", 5)]
    )
    if padded:
        made.enable_padding(pad_id=PAD, pad_type_id=PAD_TYPE)
    return made


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers")
    bert().save(str(folder / "bert.json"))
    bert(padded=False).save(str(folder / "unpadded.json"))
    return folder


def encode(root, columns, **declared):
    encoded = make_encoder(TextFeature(column="t", **declared), root).encode(pa.record_batch(columns))
    return encoded, encoded.collate(np.arange(len(columns["t"])))


texts = st.lists(st.sampled_from(["a", "b", "c", "z"]), max_size=6).map(" ".join)


@pytest.mark.promise("M135", "M136", "M137", "M138", "M139")
@given(
    rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=6),
    max_tokens=st.integers(4, 12),
    paired=st.booleans(),
    template=st.sampled_from([None, "query: {text}", "{text} c"]),
    side=st.sampled_from(["right", "left"]),
    start=st.integers(0, 2),
)
def test_the_arguments_are_those_of_the_library(root, rows, max_tokens, paired, template, side, start):
    """Ids, mask and type ids of a padded batch, bit by bit, also of a slice and in another order of rows."""
    reference = bert()
    reference.enable_truncation(max_tokens, direction=side)
    first = [(template or "{text}").replace("{text}", one) for one, _ in rows]
    given_texts = [(one, other) for one, (_, other) in zip(first, rows, strict=True)] if paired else first
    wanted = reference.encode_batch(given_texts)
    columns = {
        name: pa.array(["b"] * start + [row[place] for row in rows]).slice(start) for place, name in enumerate("tp")
    }
    encoded, (ids_BT, mask_BT, types_BT) = encode(
        root,
        columns,
        tokenizer="bert.json",
        max_tokens=max_tokens,
        pair="p" if paired else None,
        template=template,
        truncation_side=side,
        type_ids=True,
    )
    assert ids_BT.tolist() == [one.ids for one in wanted]
    assert mask_BT.int().tolist() == [one.attention_mask for one in wanted]
    assert types_BT.tolist() == [one.type_ids for one in wanted]
    assert encoded.truncated_N.tolist() == [bool(one.overflowing) for one in wanted]
    backwards = np.arange(len(rows))[::-1].copy()
    assert all(
        torch.equal(one.flip(0), other)
        for one, other in zip(encoded.collate(backwards), (ids_BT, mask_BT, types_BT), strict=True)
    )


@pytest.mark.promise("M139")
@pytest.mark.parametrize(
    ("tokenizer", "padding_id", "found"), [("bert.json", None, PAD), ("unpadded.json", None, 0), ("bert.json", 7, 7)]
)
def test_the_padding_is_the_declared_one(root, tokenizer, padding_id, found):
    _, (ids_BT, mask_BT) = encode(root, {"t": pa.array(["a b", ""])}, tokenizer=tokenizer, padding_id=padding_id)
    assert ids_BT[1].tolist() == [4, 5, found, found]
    assert mask_BT[1].tolist() == [True, True, False, False]


@pytest.mark.promise("M138")
@given(st.lists(st.text(max_size=9), min_size=1, max_size=8), st.integers(1, 7), st.integers(0, 3))
def test_the_last_bytes_are_kept(rows, max_tokens, start):
    """With the `bytes` tokenizer, in a slice of a larger array, too."""
    column = pa.array(["more"] * start + rows).slice(start)
    _, (ids_BT, mask_BT) = encode(".", {"t": column}, max_tokens=max_tokens, truncation_side="left", padding_id=300)
    for row, text in enumerate(rows):
        assert ids_BT[row][mask_BT[row]].tolist() == [byte + 1 for byte in text.encode()[-max_tokens:]]
        assert set(ids_BT[row][~mask_BT[row]].tolist()) <= {300}


def test_a_template_is_put_around_bytes_and_fills():
    """A null is filled first, and becomes part of the template."""
    _, (ids_BT, mask_BT) = encode(".", {"t": pa.array(["x", None])}, template="<{text}{}>", fill="?")
    found = [bytes((ids[mask] - 1).tolist()).decode() for ids, mask in zip(ids_BT, mask_BT, strict=True)]
    assert found == ["<x{}>", "<?{}>"]


def test_a_null_in_either_text_fails_its_row(root):
    columns = {"t": pa.array(["a", None, "b"]), "p": pa.array([None, "b", "c"])}
    encoded, _ = encode(root, columns, tokenizer="bert.json", pair="p")
    assert {row: failure.message.split(" is null")[0] for row, failure in encoded.failures.items()} == {
        0: "column 'p'",
        1: "column 't'",
    }


def test_joined_pieces_keep_types_and_padding(root):
    """A window that was encoded in pieces, since a row raised, is collated as one that was not."""
    encoder = make_encoder(TextFeature(column="t", tokenizer="bert.json", pair="p", type_ids=True), root)
    batch = pa.record_batch({"t": ["a", "a b c", ""], "p": ["c c", "", "b"]})
    whole = encoder.encode(batch).collate(np.arange(3))
    pieces = [encoder.encode(batch.slice(row, 1)) for row in range(3)]
    joined = pieces[0].joined(pieces[1:]).collate(np.arange(3))
    assert all(torch.equal(one, other) for one, other in zip(whole, joined, strict=True))


class Typed(torch.nn.Module):
    def forward(self, ids, mask, token_type_ids):
        return ((ids + 100 * token_type_ids) * mask).sum(1, keepdim=True).float()


def typed(_path, _device):
    return Typed()


@pytest.mark.parametrize("names", [{}, {"type_ids_argument": "token_type_ids"}])
def test_type_ids_reach_forward(root, names):
    """After the mask, or under their name; the rows around one without a text are predicted."""
    task = MlTask(
        name="t",
        model=ModelSpec(factory=f"{__name__}:typed"),
        features=[TextFeature(column="t", tokenizer="bert.json", pair="p", type_ids=True, **names)],
        output=RegressionOutput(),
        max_failed_share=1.0,
    )
    rows = [{"t": "a b", "p": "c"}, {"t": "a", "p": None}, {"t": "", "p": "b b"}]
    found = predict_map(0, rows, task, model_loader=ModelLoader(root))
    of_row = [4 + 1 + 2 + 5 + 103 + 105, None, 4 + 5 + 102 + 102 + 105]
    assert [row["predicted_value"] for row in found] == of_row


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"template": "query:"}, r"template='query:' must hold \{text\} once"),
        ({"template": "{text}{text}"}, r"must hold \{text\} once"),
        ({"padding_id": -1}, "padding_id=-1 must not be below 0"),
        ({"pair": "t", "tokenizer": "t.json"}, "names 't' more than once"),
        ({"truncation_side": "middle"}, "truncation_side='middle'"),
        ({"type_ids_argument": "a"}, "type_ids_argument is set, but not type_ids"),
        (
            {"type_ids": True, "argument": "a", "mask_argument": "b", "tokenizer": "t.json"},
            "set type_ids_argument, too",
        ),
    ],
)
def test_declarations_that_cannot_be_meant(declared, message):
    with pytest.raises(TaskError, match=message):
        TextFeature(column="t", **declared)


@pytest.mark.parametrize("declared", [{"pair": "p"}, {"type_ids": True}])
def test_pairs_and_type_ids_take_a_tokenizer_that_joins_texts(declared):
    """A Hugging Face folder brings it along; for other models, the feature names it."""
    feature = TextFeature(column="t", **declared)
    MlTask(name="t", model=ModelSpec(weights="folder"), features=[feature])
    with pytest.raises(TaskError, match="MlTask 't': .*pair and type_ids need a tokenizer's file"):
        MlTask(name="t", model=ModelSpec(factory="a:b"), features=[feature], labels=["a", "b"])

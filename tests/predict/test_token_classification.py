"""`output: {kind: token_classification}`: the spans of transformers' pipeline, in characters of the column's text."""

import math
import warnings
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pyarrow as pa
import pytest
import span_nets
import tiny_folders
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from sparktorch_assets.errors import ModelError, TaskError
from sparktorch_assets.predict.encode.encoders import make_encoder
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.outputs import make_decoder
from sparktorch_assets.predict.outputs.decoder import Forward
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import (
    BatchPolicy,
    Execution,
    MlTask,
    ModelSpec,
    NumericFeature,
    SequenceFeature,
    TextFeature,
    TokenClassificationOutput,
)

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC-X")
MAX_TOKENS = 24
TEXTS = [
    "Anna lives in New York.",
    "",
    "an over-long story of Anna and Anna and New York and Anna and the very long end of it in New York, Anna",
    "poison in the middle",
    None,
    "Jose\u0301 \U0001f469\u200d\U0001f4bb lives\u2003in S\u00e3o  Paulo \U0001f1e7\U0001f1f7!",
    "   ",
    "Anna",
    "\u4e1c\u4eac is long-lived",
]
POISONED, NULL = 3, 4
GOOD = [row for row in range(len(TEXTS)) if row not in (POISONED, NULL)]
CORPUS = [text for text in TEXTS if text and "poison" not in text] * 3
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def wordpiece():
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # Without Portuguese flags and Chinese characters, which stay unknown.
    made.train_from_iterator(
        [text for text in CORPUS if text.isascii()], trainers.WordPieceTrainer(vocab_size=70, special_tokens=SPECIAL)
    )
    return made


def byte_level():
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=320, special_tokens=SPECIAL))
    return made


def unigram():
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.train_from_iterator(
        [text for text in CORPUS if text.isascii()],
        trainers.UnigramTrainer(vocab_size=60, special_tokens=SPECIAL, unk_token="[UNK]"),
    )
    return made


TOKENIZERS = {"wordpiece": wordpiece, "byte level": byte_level, "unigram": unigram}


def write_folder(folder, tokenizer):
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    )
    tokenizer.add_tokens(["poison"])  # the last one, for which the network has no embedding
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=MAX_TOKENS, **names
    ).save_pretrained(folder)
    id2label = dict(enumerate(LABELS))
    config = transformers.BertConfig(
        vocab_size=tokenizer.get_vocab_size() - 1,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=MAX_TOKENS,
        id2label=id2label,
        label2id={label: number for number, label in id2label.items()},
    )
    torch.manual_seed(11)
    network = transformers.BertForTokenClassification(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.5)
    network.save_pretrained(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for name, make in TOKENIZERS.items():
        write_folder(root / name, make())
    return root


def named(folder, **options):
    return MlTask(
        name="names",
        model=ModelSpec(weights=folder),
        features=[TextFeature(column="text")],
        output=TokenClassificationOutput(**options),
        max_failed_share=1.0,
    )


def pipeline(folder, aggregation, texts, **options):
    find = transformers.pipeline("token-classification", str(folder), device="cpu")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Tokenizer does not support real words")
        return [find(text, aggregation_strategy=aggregation, **options) for text in texts]


@pytest.mark.promise("M150", "M151")
@pytest.mark.parametrize("aggregation", ["none", "simple", "first", "average", "max"])
@pytest.mark.parametrize("tokenizer", sorted(TOKENIZERS))
def test_spans_are_those_of_the_pipeline(folders, tokenizer, aggregation):
    rows = tiny_folders.rows_of_texts(named(tokenizer, aggregation=aggregation), folders, TEXTS, 3)
    expected = pipeline(folders / tokenizer, aggregation, [TEXTS[row] for row in GOOD])
    counts = []
    for row, spans in zip(GOOD, expected, strict=True):
        found = rows[row]["spans"]
        key = "entity" if aggregation == "none" else "entity_group"
        assert [(one["label"], one["start"], one["end"]) for one in found] == [
            (one[key], one["start"], one["end"]) for one in spans
        ]
        assert [one["text"] for one in found] == [TEXTS[row][one["start"] : one["end"]] for one in spans]
        np.testing.assert_allclose([one["score"] for one in found], [one["score"] for one in spans], atol=1e-6)
        counts.append(len(spans))
    assert max(counts) > 4
    assert counts[1 + GOOD.index(0)] == 0, "an empty text has none"
    assert rows[POISONED]["prediction_error"].startswith("forward: ")
    assert rows[NULL]["prediction_error"].startswith("encode: Null")
    assert [row for row in range(len(TEXTS)) if rows[row]["prediction_error"] is None] == GOOD
    assert rows[NULL]["spans"] is None


def test_strategies_differ_on_these_texts(folders):
    """The comparison above would be worth little if they did not. A tokenizer is not trained to the same pieces every time,
    so that two strategies may agree by chance with one of them, but not with all."""
    found = {
        how: [
            [row["spans"] for row in tiny_folders.rows_of_texts(named(tokenizer, aggregation=how), folders, TEXTS, 9)]
            for tokenizer in TOKENIZERS
        ]
        for how in ("none", "simple", "first", "average", "max")
    }
    assert all(found[one] != found[other] for one, other in combinations(found, 2))


@pytest.mark.promise("M151")
def test_labels_may_be_left_out_or_kept(folders):
    for ignored in ([], ["PER", "O"]):
        task = named("wordpiece", aggregation="simple", ignore_labels=ignored)
        rows = tiny_folders.rows_of_texts(task, folders, TEXTS, 9)
        expected = pipeline(folders / "wordpiece", "simple", [TEXTS[row] for row in GOOD], ignore_labels=ignored)
        for row, spans in zip(GOOD, expected, strict=True):
            assert [one["label"] for one in rows[row]["spans"]] == [one["entity_group"] for one in spans]


@pytest.mark.promise("M156")
def test_a_folder_says_that_tokens_are_classified(folders, capsys):
    bare = replace(named("wordpiece"), output=MlTask.__dataclass_fields__["output"].default_factory())
    derived = ModelLoader(folders).find_task(bare)
    assert (derived.output, derived.labels) == (TokenClassificationOutput(), LABELS)
    import sparktorch_assets

    sparktorch_assets.describe_model(folders / "wordpiece")
    shown = capsys.readouterr().out
    assert "  output      {kind: token_classification}\n  labels      O, B-PER, I-PER, B-LOC, I-LOC, MISC-X\n" in shown


def tagged(**changes):
    given = {
        "name": "tags",
        "model": ModelSpec(factory="span_nets:tagger"),
        "features": [TextFeature(column="text")],
        "labels": span_nets.LABELS,
        "output": TokenClassificationOutput(ignore_labels=()),
        "max_failed_share": 1.0,
    }
    return MlTask(**{**given, **changes})


def rows_of(task, texts, batch_size=None, tally=None, root="."):
    batch = pa.record_batch({"text": pa.array(texts, pa.string())})
    found = predict_map(0, [batch], task, batch_size, model_loader=ModelLoader(root), tally=tally)
    return [row for part in found for row in part.to_pylist()]


@pytest.mark.promise("M152")
def test_bytes_lie_at_the_place_of_their_character():
    text = "ae\u0301\U0001f600z"
    (row,) = rows_of(tagged(), [text])
    sizes = [len(character.encode()) for character in text]
    places = [place for place, size in enumerate(sizes) for _ in range(size)]
    assert [(one["start"], one["end"]) for one in row["spans"]] == [(place, place + 1) for place in places]
    labels = [span_nets.LABELS[(byte + 1) % 4] for byte in text.encode()]
    assert [one["label"] for one in row["spans"]] == labels
    assert [one["text"] for one in row["spans"]] == [text[place] for place in places]
    (row,) = rows_of(
        tagged(output=TokenClassificationOutput(ignore_labels=(), aggregation="first")), [f"{text} {text}"]
    )
    edges = {one["start"] for one in row["spans"]} | {one["end"] for one in row["spans"]}
    assert edges <= {0, 5, 6, 11}, "words are kept together"


@pytest.mark.promise("M152")
@pytest.mark.parametrize("template", ["{text}", "a \U0001f600: {text}", "{text} of it", "in {text} of it"])
@pytest.mark.parametrize("tokenizer", ["bytes", "wordpiece/tokenizer.json"])
def test_places_are_those_of_the_text_and_not_of_the_template(folders, template, tokenizer):
    texts = ["Anna in \U0001f600 York", "", "it"]
    feature = TextFeature(column="text", tokenizer=tokenizer, template=template)
    plain = TextFeature(column="text", tokenizer=tokenizer)
    found = rows_of(tagged(features=[feature]), texts, root=folders)
    expected = rows_of(tagged(features=[plain]), texts, root=folders)
    assert [row["spans"] for row in found] == [row["spans"] for row in expected]


@pytest.mark.promise("M153")
@pytest.mark.parametrize(("side", "kept"), [("right", (0, 3)), ("left", (3, 6))])
def test_spans_of_a_long_text_are_those_of_the_part_that_was_read(side, kept):
    tally = Tally()
    feature = TextFeature(column="text", max_tokens=3, truncation_side=side)
    rows = rows_of(tagged(features=[feature]), ["abcdef", "abc"], tally=tally)
    assert [(one["start"], one["text"]) for one in rows[0]["spans"]] == [
        (place, "abcdef"[place]) for place in range(*kept)
    ]
    assert tally.truncated == 1


@pytest.mark.promise("M108")
def test_nan_and_raising_rows_fail_alone():
    texts = ["abc", "a?c", "xy", None, "b!", "", "zzzzzzzz"]
    tally = Tally()
    rows = rows_of(tagged(), texts, tally=tally)
    assert [None if row["spans"] is None else "".join(one["text"] for one in row["spans"]) for row in rows] == [
        "abc", None, "xy", None, None, "", "zzzzzzzz",
    ]  # fmt: skip
    errors = [row["prediction_error"] for row in rows]
    assert errors[1] == "forward: NotFinite: the model gave NaN or infinite logits"
    assert errors[3].startswith("encode: Null")
    assert errors[4].startswith("forward: ValueError: a poisoned row")
    assert [place for place, error in enumerate(errors) if error is not None] == [1, 3, 4]
    assert (tally.predicted, tally.failed) == (4, 3)
    for row in (0, 2, 6):
        for byte, one in zip(texts[row].encode(), rows[row]["spans"], strict=True):
            best = math.exp(1 + (byte + 1) / 100)
            assert one["score"] == pytest.approx(best / (best + 3), rel=1e-5)


@pytest.mark.parametrize("deduplicate", [False, True])
def test_equal_texts_and_batches_of_any_size_give_the_same(deduplicate):
    texts = ["abc", "b", "abc", "", "abcabcabc", "b"] * 7
    task = tagged(batch=BatchPolicy(deduplicate=deduplicate))
    alone = {text: rows_of(tagged(), [text])[0]["spans"] for text in set(texts)}
    for batch_size in (1, 4, None):
        assert [row["spans"] for row in rows_of(task, texts, batch_size)] == [alone[text] for text in texts]


@pytest.mark.parametrize("tokenizer", ["bytes", "wordpiece/tokenizer.json"])
def test_windows_that_were_encoded_in_pieces_have_the_places_of_whole_ones(folders, tokenizer):
    """An encoder that raises for one row encodes the others piece by piece."""
    feature = TextFeature(column="text", tokenizer=tokenizer, template="of {text}")
    encoder = make_encoder(feature, folders, origins=True)
    batch = pa.record_batch({"text": ["Anna in York", "", "it \U0001f600", "was"]})
    whole = encoder.encode(batch).origins
    first, *others = (encoder.encode(batch.slice(start, 2)) for start in (0, 2))
    for one, other in zip(first.joined(others).origins, whole, strict=True):
        assert one.text == other.text
        for places in ("starts_T", "ends_T", "outside_T", "continues_T"):
            assert getattr(one, places).tolist() == getattr(other, places).tolist()
    assert make_encoder(feature, folders).encode(batch).origins is None, "other outputs do not pay for them"


def test_rows_that_fill_up_a_compiled_networks_batch_are_left_out():
    decoder = make_decoder(tagged())
    batch = pa.record_batch({"text": ["abc", "b", "ab"]})
    (encoded,) = [make_encoder(TextFeature(column="text"), ".", origins=True).encode(batch)]
    ids_BT, mask_BT = (torch.cat([part, part[-1:]]) for part in encoded.collate(np.arange(3), width=8))
    result = span_nets.Tagger()(ids_BT, mask_BT)
    tensors = decoder.tensors(Forward(result=result, computed=4, rows=3, mask_BT=mask_BT))
    found = {name: tensor.numpy() for name, tensor in tensors.items()} | {"origins": encoded.origins}
    decoded = decoder.columns([(np.arange(3), found)], 3)
    assert ["".join(one["text"] for one in row) for row in decoded.columns["spans"].to_pylist()] == ["abc", "b", "ab"]
    assert not decoded.failures


def test_thousands_of_spans_in_one_row():
    feature = TextFeature(column="text", max_tokens=20_000)
    text = "ab" * 10_000
    (row,) = rows_of(tagged(features=[feature]), [text])
    assert "".join(one["text"] for one in row["spans"]) == text
    assert [one["start"] for one in row["spans"]] == list(range(20_000))


@pytest.mark.promise("M155")
def test_statistics_and_checks():
    tally = Tally()
    output = TokenClassificationOutput(aggregation="simple", ignore_labels=["B", "O"])
    rows = rows_of(tagged(output=output), ["abcd", "c", "", "?"], tally=tally)
    # The labels of a, b, c and d are I-A, B-B, O and B-A.
    assert [[(one["label"], one["text"]) for one in row["spans"] or []] for row in rows] == [
        [("A", "a"), ("A", "d")], [], [], [],
    ]  # fmt: skip
    assert tally.classes == {"A": 2}
    assert tally.marks == {"rows without a span": 2}
    assert tally.numbers["spans per row"].maximum == 2
    assert tally.numbers["score"].count == 2
    assert [(one.name, one.passed) for one in output.checks(tally, span_nets.LABELS)] == [
        ("scores_in_range", True), ("labels_within_declared", True), ("spans_fit_text", True),
    ]  # fmt: skip
    assert not output.checks(tally, ["O", "B-X"])[1].passed
    assert list(output.page(tally)["spans"].counts) == [("A", 2)]
    assert output.figures(tally) == {"label_shares": '{"A": 1.0}'}


@pytest.mark.promise("M109")
def test_precisions_are_compared_by_the_labels_of_tokens():
    tally = Tally()
    rows_of(tagged(execution=Execution(precision="bf16")), ["abc", "?", "de", ""], tally=tally)
    assert tally.agreement == 1.0
    assert tally.confidence_difference < 0.01


@pytest.mark.promise("M106")
def test_logits_of_another_shape_are_refused():
    with pytest.raises(ModelError, match=r"task 'tags': .*shape \(1, 2, 4\) .* and 2 labels; expected \(1, 2, 2\)"):
        rows_of(tagged(labels=["a", "b"]), ["ab"])


GIVEN = {"label": "A", "score": 0.5, "start": 1, "end": 3, "text": "bc"}


@pytest.mark.promise("M154")
@pytest.mark.parametrize(
    ("spans", "kind"),
    [
        ([GIVEN, GIVEN], None),
        ([], None),
        (None, "NoSpans"),
        ([GIVEN, None], "NoSpans"),
        ([{**GIVEN, "label": None}], "NoSpans"),
        ([{"label": "A"}], "NoSpans"),
        ([{**GIVEN, "end": 4}], "NoSpans"),
        ([{**GIVEN, "start": -1, "end": 1}], "NoSpans"),
        ([{**GIVEN, "score": 1.5}], "NoSpans"),
        ([{**GIVEN, "score": math.nan}], "NoSpans"),
        ("spans", "ArrowTypeError"),
    ],
)
def test_what_a_model_object_answers_is_checked(spans, kind):
    task = MlTask(
        name="t",
        model=ModelSpec(factory="span_nets:answers", arguments={"column": "spans"}),
        features=[],
        labels=["A"],
        output=TokenClassificationOutput(),
        max_failed_share=1.0,
    )
    span_nets.HELD[:] = [[GIVEN], spans, []]
    rows = rows_of(task, ["x", "y", "z"])
    assert (rows[0]["spans"], rows[2]["spans"]) == ([GIVEN], [])
    if kind is None:
        assert (rows[1]["spans"], rows[1]["prediction_error"]) == (spans, None)
    else:
        assert rows[1]["prediction_error"].startswith(f"forward: {kind}")
        assert rows[1]["spans"] is None


TEXT, PAIRED = TextFeature(column="text"), TextFeature(column="text", tokenizer="t.json", pair="b")


@pytest.mark.promise("M157")
@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([NumericFeature(columns=["x"])], r"places in the text of a row, and the task has 0 features of kind text"),
        ([TEXT, TextFeature(column="b")], r"has 2 features of kind text; declare exactly one"),
        ([PAIRED], r"places in one text, and the feature of 'text' has a pair; leave it out"),
        ([TEXT, SequenceFeature(column="s")], r"feature of kind sequence has lengths, too"),
    ],
)
def test_a_task_without_one_text_is_refused(features, message):
    with pytest.raises(TaskError, match=rf"'tags': output 'token_classification' .*{message}"):
        tagged(features=features)


def test_labels_to_leave_out_have_to_exist():
    with pytest.raises(TaskError, match="ignore_labels names 'B-A'; did you mean 'A'|ignore_labels names 'B-A'; .*A"):
        tagged(output=TokenClassificationOutput(aggregation="simple", ignore_labels=["B-A"]))
    tagged(output=TokenClassificationOutput(ignore_labels=["B-A"]))


@pytest.mark.promise("M143")
def test_options_for_tensors_are_refused_for_a_model_object():
    for options in ({"aggregation": "max"}, {"ignore_labels": ["A"]}):
        task = MlTask(
            name="t",
            model=ModelSpec(factory="span_nets:answers", arguments={"column": "spans"}),
            features=[],
            labels=["A"],
            output=TokenClassificationOutput(**options),
        )
        with pytest.raises(ModelError, match=f"its output sets {next(iter(options))}, which is applied to a network's"):
            rows_of(task, ["x"])


def test_spans_come_in_the_order_of_the_text(folders):
    rows = tiny_folders.rows_of_texts(named("byte level", aggregation="simple"), folders, TEXTS, 2)
    for row in GOOD:
        assert all(one["end"] <= other["start"] for one, other in pairwise(rows[row]["spans"]))

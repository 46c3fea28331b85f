"""Pairs of texts, and arguments by name, with Hugging Face folders: the numbers of `transformers` and of `CrossEncoder`,
row by row."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from sentence_transformers import CrossEncoder
from tiny_folders import MAX_TOKENS, write_classifier, write_tokenizer

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.model.formats.huggingface import ImageNetwork, TextNetwork
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tasks import ClassificationOutput, MlTask, ModelSpec, TensorFeature, TextFeature

TYPED = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
PAIRS = [
    ("the plot was good", "a film"),
    ("", "the plot was good"),
    ("a very very long and dull story and the end of it was bad", "and bad in the end and the end and the end"),
    ("the poison story", "a film"),
    (None, "a film"),
    ("dull", None),
    ("fine", ""),
    ("bad", "the plot was good and the end of it"),
]
POISONED, NULLS = 3, (4, 5)
GOOD = [row for row in range(len(PAIRS)) if row != POISONED and row not in NULLS]
PAIR = TextFeature(column="query", pair="passage")


def a_task(*features, **changes):
    given = {"name": "t", "model": ModelSpec(weights="cross"), "features": features or [PAIR], "max_failed_share": 1.0}
    return MlTask(**{**given, **changes})


def rows_of(task, root, **columns):
    queries, passages = zip(*PAIRS, strict=True)
    given = {"query": pa.array(queries, pa.string()), "passage": pa.array(passages, pa.string()), **columns}
    (found,) = predict_map(0, [pa.record_batch(given)], task, 3, model_loader=ModelLoader(root))
    return found.to_pylist()


def check_failures(rows):
    assert rows[POISONED]["prediction_error"].startswith("forward: ")
    assert [row for row in range(len(PAIRS)) if rows[row]["prediction_error"] is None] == GOOD


@pytest.mark.promise("M175")
@pytest.mark.parametrize(("family", "settings"), [("bert", TYPED), ("bert", {}), ("roberta", {}), ("distilbert", {})])
def test_scores_of_pairs_are_those_of_the_pipeline(family, settings, tmp_path):
    """With the type ids of the second text, if the tokenizer of the folder gives them."""
    folder = tmp_path / "cross"
    write_classifier(folder, family)
    write_tokenizer(folder, **settings)
    rows = rows_of(a_task(output=ClassificationOutput(scores=True)), tmp_path)
    classify = transformers.pipeline("text-classification", str(folder), device="cpu")
    compared = [row for row in GOOD if PAIRS[row][1]]  # the pipeline takes an empty second text for none
    pairs = [{"text": PAIRS[row][0], "text_pair": PAIRS[row][1]} for row in compared]
    found = [classify(pair, truncation="longest_first", max_length=MAX_TOKENS, top_k=None) for pair in pairs]
    names = list(classify.model.config.id2label.values())
    expected = np.array([[{one["label"]: one["score"] for one in row}[name] for name in names] for row in found])
    assert np.ptp(expected, axis=0).max() > 0.05, "the pairs' scores differ, so that a mixed-up row is seen"
    np.testing.assert_allclose([rows[row]["scores"] for row in compared], expected, atol=1e-6)
    check_failures(rows)
    (feature,) = ModelLoader(tmp_path).find_task(a_task()).features
    assert feature.type_ids == bool(settings)


@pytest.mark.promise("M175")
def test_scores_of_a_cross_encoder_are_its_own(tmp_path):
    write_classifier(tmp_path / "cross", labels=("relevant",))
    write_tokenizer(tmp_path / "cross", **TYPED)
    rows = rows_of(a_task(), tmp_path)
    encoder = CrossEncoder(str(tmp_path / "cross"), device="cpu", max_length=MAX_TOKENS)
    expected = encoder.predict([PAIRS[row] for row in GOOD], batch_size=1, activation_fn=torch.nn.Identity())
    np.testing.assert_allclose([rows[row]["predicted_value"] for row in GOOD], expected, rtol=1e-5, atol=1e-6)
    check_failures(rows)


@pytest.mark.promise("M175")
def test_a_folder_without_settings_of_its_tokenizer_gives_type_ids_if_the_network_tells_types_apart(tmp_path):
    folder = tmp_path / "cross"
    write_classifier(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["tokenizer_class"] = "BertTokenizer"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    loader = ModelLoader(tmp_path)
    assert loader.find_task(a_task()).features[0].type_ids
    explicit = TextFeature(column="query", pair="passage", tokenizer="cross/tokenizer.json", max_tokens=5)
    assert loader.find_task(a_task(explicit)).features[0].type_ids, "also if the tokenizer is named"
    named = TextFeature(column="query", pair="passage", argument="input_ids", mask_argument="attention_mask")
    assert loader.find_task(a_task(named)).features[0].type_ids_argument == "token_type_ids"
    assert not loader.find_task(a_task(TextFeature(column="query"))).features[0].type_ids


@pytest.mark.promise("M175")
def test_arguments_by_name_give_the_same_numbers_and_further_ones_are_passed_on(tmp_path):
    write_classifier(tmp_path / "cross")
    write_tokenizer(tmp_path / "cross", **TYPED)
    named = TextFeature(
        column="query",
        pair="passage",
        type_ids=True,
        argument="input_ids",
        mask_argument="attention_mask",
        type_ids_argument="token_type_ids",
    )
    output = ClassificationOutput(scores=True)
    plain, by_name = (rows_of(a_task(feature, output=output), tmp_path) for feature in (PAIR, named))
    assert by_name == plain
    text = TextFeature(column="query", max_tokens=2)  # every text has the same two tokens
    at = TensorFeature(column="at", shape=[2], dtype="int64", argument="position_ids")
    places = pa.array([[row, row + 1] for row in range(len(PAIRS))])
    moved, still = (
        [row["scores"] for row in rows_of(a_task(*features, output=output), tmp_path, at=places)]
        for features in ((text, at), (text,))
    )
    assert moved[0] == pytest.approx(still[0])
    assert moved[1] != pytest.approx(still[1], rel=1e-3)


@pytest.mark.promise("M175")
def test_more_tensors_than_a_network_takes_by_position_are_refused():
    values = torch.zeros(1, 2)
    with pytest.raises(ModelError, match=r"give 4 tensors by position, .*input_ids, attention_mask, token_type_ids"):
        TextNetwork(torch.nn.Identity(), 0, Path("mood"))(values, values, values, values)
    with pytest.raises(ModelError, match=r"give 1 tensors by position, and the network takes none so"):
        ImageNetwork(torch.nn.Identity())(values, pixel_values=values)

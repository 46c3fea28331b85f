"""Hugging Face folders for audio give the numbers of `transformers.pipeline`, row by row, in batches of any rows."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from sounds import noise, stored

import sparktorch_assets
from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tasks import (
    AudioFeature,
    ClassificationOutput,
    EmbeddingOutput,
    MlTask,
    ModelSpec,
    NumericFeature,
)

LABELS = ("dog", "cat", "car")
RATE = 8_000
WAVES = [noise(length, seed) for seed, length in enumerate([1_600, 700, 4_000, 20, 700, 2_399, 1_600, 5_000])]
SHORT = 3
NULL, BROKEN = len(WAVES), len(WAVES) + 1
GOOD = [row for row in range(len(WAVES)) if row != SHORT]

_SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_CONVOLUTIONS = {"conv_dim": (8, 8), "conv_kernel": (10, 4), "conv_stride": (5, 4), "num_feat_extract_layers": 2}
_POSITIONS = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 8}
_CONFIGS = {
    "wav2vec2": transformers.Wav2Vec2Config,
    "hubert": transformers.HubertConfig,
    "wavlm": transformers.WavLMConfig,
}


def a_task(**audio):
    return MlTask(
        name="sounds",
        model=ModelSpec(weights="sounds"),
        features=[AudioFeature(column="clip", **audio)],
        output=ClassificationOutput(scores=True),
        max_failed_share=1.0,
    )


def write_extractor(folder, **settings):
    folder.mkdir(exist_ok=True)
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=RATE, **settings).save_pretrained(folder)
    if not (folder / "config.json").exists():
        (folder / "config.json").write_text(json.dumps({"architectures": ["Wav2Vec2ForSequenceClassification"]}))


def write_network(folder, family="wav2vec2", auto=transformers.AutoModelForAudioClassification, **settings):
    config = _CONFIGS[family](
        **_SIZE, **_CONVOLUTIONS, **_POSITIONS, id2label=dict(enumerate(LABELS)), vocab_size=4, **settings
    )
    torch.manual_seed(5)
    network = auto.from_config(config)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.4)
    network.save_pretrained(folder)
    return network


def rows_of(task, root, batch_size):
    files = [*map(stored, WAVES), None, b"broken"]
    batch = pa.record_batch({"clip": pa.array(files, pa.binary())})
    (found,) = predict_map(0, [batch], task, batch_size, model_loader=ModelLoader(root))
    return found.to_pylist()


@pytest.mark.promise("M200")
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # of WavLM
@pytest.mark.parametrize(
    ("family", "norm", "mask", "more"),
    [
        ("wav2vec2", "group", False, {}),
        ("wav2vec2", "group", True, {}),
        ("wav2vec2", "layer", True, {"do_stable_layer_norm": True}),
        ("wav2vec2", "layer", True, {"use_weighted_layer_sum": True}),
        ("wav2vec2", "layer", False, {"do_stable_layer_norm": True}),
        ("hubert", "layer", True, {"do_stable_layer_norm": True}),
        ("hubert", "group", False, {}),
        ("wavlm", "group", False, {}),
        ("wavlm", "layer", True, {}),
    ],
)
def test_scores_of_recordings_are_those_of_the_pipeline(tmp_path, family, norm, mask, more):
    """Which computes each on its own. A null, a broken file and one that is too short fail alone."""
    write_network(tmp_path / "sounds", family, feat_extract_norm=norm, **more)
    write_extractor(tmp_path / "sounds", return_attention_mask=mask)
    found = [rows_of(a_task(), tmp_path, batch_size) for batch_size in (3, None)]
    classify = transformers.pipeline("audio-classification", str(tmp_path / "sounds"), device="cpu")
    spread = []
    for row in GOOD:
        expected = classify(WAVES[row], top_k=len(LABELS))
        by_label = {one["label"]: one["score"] for one in expected}
        spread.append([by_label[label] for label in LABELS])
        for rows in found:
            np.testing.assert_allclose(rows[row]["scores"], spread[-1], atol=2e-5)
            assert rows[row]["predicted_class"] == expected[0]["label"]
    assert np.ptp(spread, axis=0).max() > 1e-3  # answers that are all alike would prove nothing
    for rows in found:
        assert [place for place, row in enumerate(rows) if row["prediction_error"] is None] == GOOD
        assert "a recording of 20 samples is too short" in rows[SHORT]["prediction_error"]


@pytest.mark.promise("M201")
def test_what_an_audio_feature_leaves_out_comes_from_the_folder(tmp_path):
    write_extractor(tmp_path / "sounds")
    loader = ModelLoader(tmp_path)
    derived = loader.find_task(a_task())
    assert derived.features[0] == AudioFeature(column="clip", sample_rate=RATE, normalize=True)
    assert loader.find_task(derived) is derived
    assert loader.find_task(a_task(normalize=False)).features[0].normalize is False
    write_extractor(tmp_path / "sounds", do_normalize=False)
    assert loader.find_task(a_task(sample_rate=16_000)).features == a_task(sample_rate=16_000, normalize=False).features


@pytest.mark.promise("M201")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"feature_extractor_type": "ASTFeatureExtractor"}, "prepares recordings with ASTFeatureExtractor instead of"),
        ({"feature_size": 2}, "makes 2 numbers of a sample"),
        ({"padding_value": -1.0}, "pads with -1.0"),
        ({"padding_side": "left"}, "pads at the beginning"),
    ],
)
def test_what_a_feature_extractor_does_besides_is_refused(tmp_path, settings, message):
    write_extractor(tmp_path / "sounds")
    file = tmp_path / "sounds" / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    with pytest.raises(ModelError, match=f"task 'sounds': .*{message}.*Name a factory"):
        ModelLoader(tmp_path).find_task(a_task())


@pytest.mark.promise("M201")
def test_describe_model_prints_how_recordings_are_prepared(tmp_path, capsys):
    write_extractor(tmp_path / "sounds", return_attention_mask=True)
    sparktorch_assets.describe_model(tmp_path / "sounds")
    lines = capsys.readouterr().out.splitlines()
    assert "  audio       sample_rate 8000, normalize true, attention mask true" in lines


@pytest.mark.promise("M223")
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # of WavLM
@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize(
    ("family", "norm", "mask", "more"),
    [
        ("wav2vec2", "group", False, {}),
        ("wav2vec2", "layer", True, {"do_stable_layer_norm": True}),
        ("wav2vec2", "layer", True, {"add_adapter": True, "num_adapter_layers": 1, "output_hidden_size": 16}),
        ("hubert", "layer", True, {}),
        ("wavlm", "layer", True, {}),
    ],
)
def test_vectors_are_pooled_over_the_frames_of_the_recording_alone(tmp_path, family, norm, mask, more, pooling):
    """The reference is the network on each recording alone, whose frames are all real."""
    folder = tmp_path / "sounds"
    write_extractor(folder, return_attention_mask=mask)
    network = write_network(folder, family, auto=transformers.AutoModel, feat_extract_norm=norm, **more).eval()
    task = MlTask(
        name="sounds",
        model=ModelSpec(weights="sounds"),
        features=[AudioFeature(column="clip", argument="input_values", mask_argument="attention_mask")],
        output=EmbeddingOutput(length=16, pooling=pooling),
        max_failed_share=1.0,
    )
    rows = rows_of(task, tmp_path, batch_size=4)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    for row in GOOD:
        given = extractor(WAVES[row], sampling_rate=RATE, return_tensors="pt")
        with torch.inference_mode():
            frames_FE = network(**given).last_hidden_state[0]
        expected = frames_FE.mean(dim=0) if pooling == "mean" else frames_FE[0]
        np.testing.assert_allclose(rows[row]["embedding"], expected, atol=1e-5)
    for row in (SHORT, NULL, BROKEN):
        assert rows[row]["embedding"] is None
        assert rows[row]["prediction_error"] is not None


def test_arguments_may_have_the_networks_own_names(tmp_path):
    write_extractor(tmp_path / "sounds")
    write_network(tmp_path / "sounds")
    named = rows_of(a_task(argument="input_values", mask_argument="attention_mask"), tmp_path, batch_size=4)
    plain = rows_of(a_task(), tmp_path, batch_size=4)
    for column in ("predicted_class", "prediction_error"):
        assert [row[column] for row in named] == [row[column] for row in plain]
    confidences = ([row["confidence"] for row in rows if row["confidence"] is not None] for rows in (named, plain))
    np.testing.assert_allclose(*confidences, atol=1e-5)


def test_other_features_are_refused_with_the_way_out(tmp_path):
    write_extractor(tmp_path / "sounds")
    write_network(tmp_path / "sounds")
    task = a_task()
    more = [*task.features, NumericFeature(columns=["age"], argument="age")]
    batch = pa.record_batch({"clip": pa.array([stored(WAVES[0])]), "age": [1.0]})
    with pytest.raises(ModelError, match=r"an argument 'age', .* of one audio feature; declare no other features"):
        list(predict_map(0, [batch], replace(task, features=more), 1, model_loader=ModelLoader(tmp_path)))

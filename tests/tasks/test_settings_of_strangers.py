"""Whoever made a model's folder wrote its JSON files: whatever they hold, a task is completed by them or an error says which
folder is at fault."""

import json
import math

import pytest

from sparktorch_assets.errors import ModelError, TaskError
from sparktorch_assets.tasks import AudioFeature, ImageFeature, MlTask, ModelSpec, TextFeature
from sparktorch_assets.tasks.files.completed_task import completed_task
from sparktorch_assets.tasks.files.folders.folder_description import describe_files

VALUES = [
    *("x", "x" * 5000, "a\0\x1b[2Jb", "../x", "/etc", None, True, -1, 0, 1.5, 10**12, 10**40, math.inf, math.nan),
    *([1], [None] * 3, ["a"] * 3, [math.nan] * 3, {"a": 1}, {"0": {}}, {"height": 10**9, "width": 10**9}),
    {"shortest_edge": 10**9},
]
IMAGES = {
    "size": {"height": 8, "width": 8},
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "resample": 2,
    "rescale_factor": 1 / 255,
    "do_center_crop": True,
    "crop_size": {"height": 8, "width": 8},
}
SOUNDS = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16000, "feature_size": 1}
TEXTS = {"tokenizer.json": {}, "tokenizer_config.json": {"model_max_length": 12}}
MODULES = [
    {"type": f"sentence_transformers.models.{kind}", "path": path}
    for kind, path in (("Transformer", ""), ("Pooling", "pooling"), ("Dense", "dense"))
]
FOLDERS = {
    "texts": {
        "config.json": {
            "architectures": ["BertForSequenceClassification"],
            "id2label": {"0": "a", "1": "b"},
            "num_labels": 2,
            "problem_type": None,
            "max_position_embeddings": 12,
            "pad_token_id": 0,
            "type_vocab_size": 2,
            "model_type": "roberta",
        },
        **TEXTS,
    },
    "unnamed": {"config.json": {"architectures": ["BertForSequenceClassification"], "num_labels": 2}, **TEXTS},
    "boxes": {
        "config.json": {"architectures": ["DetrForObjectDetection"], "model_type": "detr", "num_labels": 2},
        "preprocessor_config.json": IMAGES,
    },
    "images": {
        "config.json": {"architectures": ["ViTForImageClassification"], "num_labels": 2},
        "preprocessor_config.json": IMAGES,
    },
    "sounds": {
        "config.json": {"architectures": ["Wav2Vec2ForSequenceClassification"], "num_labels": 2},
        "preprocessor_config.json": SOUNDS,
    },
    "writer": {
        "config.json": {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_positions": 64},
        "generation_config.json": {"max_new_tokens": 4, "max_length": 8},
        **TEXTS,
    },
    "sentences": {
        "config.json": {"architectures": ["BertModel"], "max_position_embeddings": 12},
        "modules.json": MODULES,
        "config_sentence_transformers.json": {"prompts": {"query": "q: "}, "default_prompt_name": "query"},
        "sentence_bert_config.json": {"max_seq_length": 12, "do_lower_case": False},
        "pooling/config.json": {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True},
        "dense/config.json": {"in_features": 16, "out_features": 4, "activation_function": "torch.nn.Tanh"},
        **TEXTS,
    },
}
"""A folder of each kind: file -> its content."""
FEATURES = {
    "images": ImageFeature(column="c"),
    "boxes": ImageFeature(column="c"),
    "sounds": AudioFeature(column="c", max_seconds=1),
}


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))


def changed(content):
    """Every content with one value exchanged, or with another value as a whole."""
    yield from VALUES
    keys = range(len(content)) if isinstance(content, list) else list(content)
    for key in keys:
        for value in VALUES:
            copy = json.loads(json.dumps(content))
            if isinstance(content, list):
                copy[key]["path"] = value
            else:
                copy[key] = value
            yield copy


def error_of(function, *given):
    """What a function says is wrong; any other exception fails the test."""
    try:
        function(*given)
    except (ModelError, TaskError) as error:
        return str(error)
    return None


@pytest.mark.promise("M235")
@pytest.mark.parametrize("kind", FOLDERS)
def test_every_wrong_value_is_harmless_or_an_error_that_names_the_folder(tmp_path, kind, capsys):
    pytest.importorskip("soundfile") if kind == "sounds" else None
    folder = tmp_path / "m"
    write(folder, FOLDERS[kind])
    (folder / "model.safetensors").touch()
    (folder / "dense").mkdir(exist_ok=True)
    (folder / "dense" / "model.safetensors").touch()
    feature = FEATURES.get(kind) or TextFeature(column="c", pair="d")
    task = MlTask(name="t", model=ModelSpec(weights="m", format="huggingface"), features=[feature])
    assert completed_task(task, tmp_path) != task  # it is a folder that completes a task
    errors = []
    for name, content in FOLDERS[kind].items():
        for other in changed(content):
            (folder / name).write_text(json.dumps(other))
            errors += [error_of(completed_task, task, tmp_path), error_of(describe_files, folder)]
        (folder / name).write_text(json.dumps(content))
    errors = [error for error in errors if error is not None]
    assert len(errors) > len(VALUES)
    assert [error for error in errors if str(folder) not in error] == []
    assert not set("\0\x1b") & set(capsys.readouterr().out)


@pytest.mark.promise("M235")
@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000, b"1" * 5000, b"x" * (17 << 20)]
)
def test_what_is_no_json_is_an_error_that_names_the_file(tmp_path, content):
    write(tmp_path / "m", FOLDERS["texts"])
    task = MlTask(name="t", model=ModelSpec(weights="m"), features=[TextFeature(column="c")])
    for name in ("config.json", "tokenizer_config.json"):
        before = (tmp_path / "m" / name).read_bytes()
        (tmp_path / "m" / name).write_bytes(content)
        with pytest.raises(ModelError, match=f"m/{name} "):
            completed_task(task, tmp_path)
        (tmp_path / "m" / name).write_bytes(before)

"""Hugging Face folders give the numbers of `transformers.pipeline`, row by row."""

import importlib.util
import json
import re
import shutil
import socket
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from tiny_folders import (
    GOOD,
    MAX_TOKENS,
    NULL,
    POISONED,
    TEXTS,
    rows_of_texts,
    write_classifier,
    write_network,
    write_tokenizer,
)

import sparktorch_assets
from sparktorch_assets.errors import ModelError, TaskError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.model.formats.weights import load_module
from sparktorch_assets.tasks import (
    ClassificationOutput,
    EmbeddingOutput,
    MlTask,
    ModelSpec,
    MultilabelOutput,
    RegressionOutput,
    TextFeature,
)
from sparktorch_assets.tasks.digest import model_digest, task_digest
from sparktorch_assets.tasks.files.model_files import file_sha256

LABELS = ("negative", "neutral", "positive")
FAMILIES = ["bert", "roberta", "distilbert", "gpt2"]


def a_task(**changes):
    given = {
        "name": "mood",
        "model": ModelSpec(weights="mood"),
        "features": [TextFeature(column="text")],
        "max_failed_share": 1.0,
    }
    return MlTask(**{**given, **changes})


def explicit(**changes):
    text = TextFeature(column="text", tokenizer="mood/tokenizer.json", max_tokens=MAX_TOKENS)
    return a_task(features=[text], labels=LABELS, output=ClassificationOutput(scores=True), **changes)


def predicted(task, root, batch_size=3, texts=TEXTS):
    return rows_of_texts(task, root, texts, batch_size)


def pipeline_scores(folder, function, texts):
    classify = transformers.pipeline("text-classification", str(folder), device="cpu")
    found = classify(list(texts), truncation=True, top_k=None, function_to_apply=function, batch_size=1)
    order = [label for _, label in sorted(classify.model.config.id2label.items())]
    return np.array([[{one["label"]: one["score"] for one in row}[label] for label in order] for row in found])


@pytest.mark.promise("M111")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "task", [explicit(), a_task(output=ClassificationOutput(scores=True))], ids=["declared", "derived"]
)
def test_classes_and_scores_are_those_of_the_pipeline(tmp_path, family, task):
    write_classifier(tmp_path / "mood", family)
    rows = predicted(task, tmp_path)
    expected = pipeline_scores(tmp_path / "mood", "softmax", (TEXTS[row] for row in GOOD))
    assert np.ptp(expected, axis=0).max() > 0.1, "the texts' scores differ, so that a mixed-up row is seen"
    np.testing.assert_allclose([rows[row]["scores"] for row in GOOD], expected, atol=1e-6)
    assert [rows[row]["predicted_class"] for row in GOOD] == [LABELS[best] for best in expected.argmax(axis=1)]
    assert rows[POISONED]["prediction_error"].startswith("forward: ")
    assert rows[NULL]["prediction_error"].startswith("encode: Null")
    assert [row for row in range(len(TEXTS)) if rows[row]["prediction_error"] is None] == GOOD


@pytest.mark.promise("M115", "M117")
@pytest.mark.parametrize(
    ("settings", "function", "column"),
    [
        ({"problem_type": "multi_label_classification"}, "sigmoid", "scores"),
        ({"labels": ("stars",)}, "none", "predicted_value"),
        ({"problem_type": "regression"}, "none", "predicted_values"),
    ],
    ids=["multilabel", "one number", "three numbers"],
)
def test_other_outputs_of_a_head_are_those_of_the_pipeline(tmp_path, settings, function, column):
    write_classifier(tmp_path / "mood", **settings)
    rows = predicted(a_task(), tmp_path)
    expected = pipeline_scores(tmp_path / "mood", function, (TEXTS[row] for row in GOOD))
    np.testing.assert_allclose(
        np.reshape([rows[row][column] for row in GOOD], expected.shape), expected, rtol=1e-5, atol=1e-6
    )
    assert [row for row in range(len(TEXTS)) if rows[row]["prediction_error"] is None] == GOOD


@pytest.mark.promise("M115", "M117")
def test_what_a_task_leaves_out_comes_from_the_folder_and_what_it_declares_stays(tmp_path):
    loader = ModelLoader(tmp_path)
    numbers = sorted(range(11), key=str)  # 0, 1, 10, 2 ..., as JSON may have them
    write_config(tmp_path / "mood", id2label={str(number): f"class {number}" for number in numbers})
    found = loader.find_task(a_task())
    assert (found.output, found.labels) == (ClassificationOutput(), tuple(f"class {number}" for number in range(11)))
    named = loader.find_task(a_task(labels=list("abcdefghijk")))
    assert (named.labels, named.features) == (tuple("abcdefghijk"), found.features)
    options = ClassificationOutput(top_k=2)
    assert loader.find_task(a_task(output=options)).output == options
    with pytest.raises(
        ModelError, match=r"task 'mood': output 'multilabel' is declared without labels, .*'classification'"
    ):
        loader.find_task(a_task(output=MultilabelOutput()))
    numbers = RegressionOutput(names=["a", "b", "c"])
    assert loader.find_task(a_task(output=numbers)).output == numbers
    with pytest.raises(TaskError, match=r"top_k=12 is more than the 11 labels"):
        loader.find_task(a_task(output=ClassificationOutput(top_k=12)))
    write_config(tmp_path / "mood")
    assert loader.find_task(a_task()).labels == ("LABEL_0", "LABEL_1")
    assert loader.find_task(found) is found, "a complete task needs no folder"


def test_a_folder_without_names_for_its_labels_says_so(tmp_path, caplog, capsys):
    write_config(tmp_path / "mood", id2label={"0": "LABEL_0", "1": "LABEL_1"})
    assert ModelLoader(tmp_path).find_task(a_task()).labels == ("LABEL_0", "LABEL_1")
    assert "mood/config.json names no labels (id2label)" in caplog.text
    assert "declare the task's labels" in caplog.text
    sparktorch_assets.describe_model(tmp_path / "mood")
    assert "LABEL_0, LABEL_1 (config.json names none in id2label: declare" in capsys.readouterr().out
    caplog.clear()
    write_config(tmp_path / "mood", id2label={"0": "no", "1": "yes"})
    ModelLoader(tmp_path).find_task(a_task())
    assert not caplog.text


def write_config(folder, tokenizer_config=None, **config):
    """The JSON files of a folder without weights."""
    folder.mkdir(exist_ok=True)
    given = {"architectures": ["BertForSequenceClassification"], "model_type": "bert", **config}
    (folder / "config.json").write_text(json.dumps(given))
    (folder / "tokenizer.json").write_text("{}")
    limits = {"model_max_length": MAX_TOKENS} if tokenizer_config is None else tokenizer_config
    (folder / "tokenizer_config.json").write_text(json.dumps(limits))


@pytest.mark.promise("M118", "M119")
@pytest.mark.parametrize(
    ("tokenizer_config", "config", "limit"),
    [
        ({"model_max_length": 12}, {"max_position_embeddings": 20}, 12),
        ({"model_max_length": 20}, {"max_position_embeddings": 12}, 12),
        ({"model_max_length": 1000000000000000019884624838656}, {"max_position_embeddings": 512}, 512),
        ({}, {"model_type": "roberta", "pad_token_id": 1, "max_position_embeddings": 514}, 512),
        ({}, {"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_max_length": 512}, {"max_position_embeddings": -1}, 512),
    ],
)
def test_texts_are_cut_where_tokenizer_and_positions_end(tmp_path, tokenizer_config, config, limit):
    write_config(tmp_path / "mood", tokenizer_config, **config)
    loader = ModelLoader(tmp_path)
    (feature,) = loader.find_task(a_task()).features
    assert feature == TextFeature(column="text", tokenizer="mood/tokenizer.json", max_tokens=limit)
    (shorter,) = loader.find_task(a_task(features=[TextFeature(column="text", max_tokens=5)])).features
    assert shorter.max_tokens == 5
    with pytest.raises(ModelError, match=rf"max_tokens={limit + 1} .*'text' is more than the {limit} tokens"):
        loader.find_task(a_task(features=[TextFeature(column="text", max_tokens=limit + 1)]))
    own = TextFeature(column="text", tokenizer="mood/tokenizer.json", max_tokens=256)
    assert loader.find_task(a_task(features=[own])).features == (own,)


@pytest.mark.promise("M123")
@pytest.mark.parametrize(
    ("tokenizer_config", "config", "message"),
    [
        ({}, {}, r"does not say how long a text may be .*together with max_tokens"),
        ({"truncation_side": "left"}, {}, r"cuts long texts at their beginning .*Do it with a batch_preprocessor"),
        (None, {"architectures": None}, r"names no architectures"),
        (None, {"architectures": ["BertModel"], "hidden_size": 16}, r"a BertModel, .*kind: embedding, length: 16"),
        (None, {"architectures": ["BertForQuestionAnswering"]}, r"for others, name a factory"),
        (None, {"id2label": {"a": "b"}}, r"a key of id2label is not a number"),
        (None, {"id2label": {"0": "a", "2": "b"}}, r"not the numbers from 0 to 1, so it is not known which logit"),
        (
            None,
            {"id2label": {"0": "a", "1": "a"}},
            r"config\.json: id2label names 'a' twice.*declare the task's labels",
        ),
        (None, {"id2label": {"0": None, "1": {}}}, r"id2label is not an object of numbers and labels"),
        (None, {"id2label": 5}, r"id2label is not an object of numbers and labels"),
        (None, {"num_labels": 10**9}, r"num_labels is 1000000000, not a number of labels; declare the task's labels"),
        (None, {"num_labels": [3]}, r"num_labels is \[3\], not a number of labels"),
    ],
)
def test_what_a_folder_does_not_say_is_asked_for(tmp_path, tokenizer_config, config, message):
    write_config(tmp_path / "mood", tokenizer_config, **config)
    with pytest.raises(ModelError, match=f"task 'mood': .*{message}"):
        ModelLoader(tmp_path).find_task(a_task())


def test_a_folder_that_is_none_of_a_model_is_refused(tmp_path):
    loader = ModelLoader(tmp_path)
    with pytest.raises(ModelError, match=r"there is no folder .*mood, .*models_root"):
        loader.find_task(a_task())
    (tmp_path / "mood").mkdir()
    with pytest.raises(ModelError, match=r"neither config\.json nor modules\.json.* Name the weights file in it"):
        loader.find_task(a_task())
    with pytest.raises(ModelError, match=r"neither config\.json nor modules\.json"):
        model_digest(explicit(), tmp_path)
    write_config(tmp_path / "mood")
    (tmp_path / "mood" / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"has no tokenizer\.json.*save_pretrained"):
        loader.find_task(a_task())
    write_config(tmp_path / "mood")
    (tmp_path / "mood" / "config.json").write_text("[")
    with pytest.raises(ModelError, match=r"config\.json is not JSON"):
        loader.find_task(a_task())
    (tmp_path / "mood" / "config.json").write_text("[]")
    with pytest.raises(ModelError, match=r"config\.json holds a list"):
        loader.find_task(a_task())


@pytest.mark.promise("M114")
def test_a_path_without_a_suffix_is_a_folder_and_another_says_its_format(tmp_path):
    assert ModelSpec(weights="mood").format == "huggingface"
    assert ModelSpec(weights="mood-1.5", format="huggingface").format == "huggingface"
    write_config(tmp_path / "mood-1.5", id2label={"0": "a", "1": "b"})
    task = a_task(model=ModelSpec(weights="mood-1.5", format="huggingface"))
    assert ModelLoader(tmp_path).find_task(task).labels == ("a", "b")


@pytest.mark.promise("M113")
def test_without_transformers_the_declaration_names_the_pip_command(monkeypatch):
    def find_spec(name, *arguments, found=importlib.util.find_spec):
        return None if name == "transformers" else found(name, *arguments)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    with pytest.raises(TaskError, match=r"'mood' is a .*pip install 'sparktorch-assets\[huggingface\]'"):
        ModelSpec(weights="mood")


def test_without_transformers_on_a_worker_the_error_names_the_pip_command(tmp_path, monkeypatch):
    write_config(tmp_path / "mood")
    (tmp_path / "mood" / "model.safetensors").touch()
    task = explicit()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=r"pip install 'sparktorch-assets\[huggingface\]' on every worker"):
        ModelLoader(tmp_path).bring_up_model(task)


def test_the_extras_are_those_that_errors_name():
    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = declared["optional-dependencies"]
    assert extras["huggingface"] == ["transformers>=5,<6"]
    (everything,) = extras["all"]
    assert set(everything.partition("[")[2].rstrip("]").split(",")) == extras.keys() - {"all"}


@pytest.mark.promise("M120")
@pytest.mark.parametrize("family", ["gpt2", "roberta"])
def test_padding_has_the_networks_own_id(tmp_path, family):
    """GPT-2 takes the logits of the last token that is not padding. Padded with 0, a batch would differ from its rows."""
    write_classifier(tmp_path / "mood", family)
    together, alone = (predicted(explicit(), tmp_path, batch_size) for batch_size in (len(TEXTS), 1))
    for row in GOOD:
        np.testing.assert_allclose(together[row]["scores"], alone[row]["scores"], atol=1e-6)


@pytest.mark.promise("M121")
def test_weights_of_another_type_are_computed_with_in_fp32(tmp_path):
    network = write_classifier(tmp_path / "mood")
    network.to(torch.bfloat16).save_pretrained(tmp_path / "mood")
    with torch.inference_mode():
        ids = torch.tensor([[0, 4, 5, 2]])
        expected = network.float()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.softmax(dim=1)
    (row,) = predicted(explicit(), tmp_path, texts=["the plot"])
    np.testing.assert_allclose(row["scores"], expected[0], atol=1e-6)


@pytest.mark.promise("M122")
def test_weights_that_do_not_fill_the_network_are_refused(tmp_path):
    write_classifier(tmp_path / "mood")
    config = (tmp_path / "mood" / "config.json").read_text()
    write_network(tmp_path / "mood", auto=transformers.AutoModel)  # the same network, without the classifier
    (tmp_path / "mood" / "config.json").write_text(config)
    with pytest.raises(
        ModelError, match=r"lack classifier\.bias, classifier\.weight, which BertForSequenceClassification"
    ):
        predicted(explicit(), tmp_path)


@pytest.mark.promise("M122")
def test_weights_of_another_size_than_the_settings_say_are_refused_with_their_names(tmp_path):
    write_classifier(tmp_path / "mood")
    config = json.loads((tmp_path / "mood" / "config.json").read_text())
    (tmp_path / "mood" / "config.json").write_text(json.dumps({**config, "id2label": {"0": "a", "1": "b"}}))
    with pytest.raises(ModelError, match=r"mood do not fit .* classifier\.bias has \(3,\), not \(2,\).*id2label"):
        predicted(a_task(), tmp_path)


def test_the_embedding_of_an_encoder_can_be_declared(tmp_path):
    """The folder has no pooler, which transformers would draw at random; vectors that are pooled do not need it."""
    write_tokenizer(tmp_path / "mood")
    network = write_network(tmp_path / "mood", auto=transformers.AutoModel)
    network.pooler = None
    network.save_pretrained(tmp_path / "mood")
    (row,) = predicted(a_task(output=EmbeddingOutput(length=16, pooling="cls")), tmp_path, texts=["the plot"])
    ids = torch.tensor([[0, 4, 5, 2]])
    with torch.inference_mode():
        expected = network(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0, 0]
    np.testing.assert_allclose(row["embedding"], expected, atol=1e-6)


@pytest.mark.promise("M225")
def test_vectors_of_a_classifiers_folder_are_those_of_its_encoder(tmp_path):
    """Also after a task that classifies with the same folder has brought up the network with its head."""
    network = write_classifier(tmp_path / "mood")
    predicted(explicit(), tmp_path, texts=["the plot"])
    (row,) = predicted(a_task(output=EmbeddingOutput(length=16, pooling="mean")), tmp_path, texts=["the plot"])
    ids = torch.tensor([[0, 4, 5, 2]])
    with torch.inference_mode():
        hidden = network.bert(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    np.testing.assert_allclose(row["embedding"], hidden[0].mean(dim=0), atol=1e-6)


def test_what_a_folder_holds_is_part_of_the_digests(tmp_path):
    """All of its files count, and what is derived from it counts as if it were declared."""
    write_classifier(tmp_path / "mood")
    loader = ModelLoader(tmp_path)
    derived = loader.find_task(a_task(output=ClassificationOutput(scores=True)))
    assert derived == explicit()
    before = model_digest(derived, tmp_path), task_digest(derived)
    write_classifier(tmp_path / "mood", labels=("a", "b", "c"))
    after = loader.find_task(a_task(output=ClassificationOutput(scores=True)))
    assert model_digest(after, tmp_path) != before[0]
    assert task_digest(after) != before[1]
    assert loader.cache_key(after) != loader.cache_key(derived)


CODE = """
import pathlib
from transformers import BertConfig, BertForSequenceClassification
pathlib.Path({trace!r}).mkdir(exist_ok=True)
class Config(BertConfig):
    model_type = "own"
class Network(BertForSequenceClassification):
    config_class = Config
"""


@pytest.mark.promise("M126")
def test_code_in_a_folder_runs_only_if_it_is_trusted(tmp_path, monkeypatch):
    folder, trace = tmp_path / "mood", tmp_path / "it ran"
    write_classifier(folder)
    (folder / "own.py").write_text(CODE.format(trace=str(trace)))
    config = json.loads((folder / "config.json").read_text())
    classes = {"AutoConfig": "own.Config", "AutoModelForSequenceClassification": "own.Network"}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": classes}))
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(ModelError, match=r"transformers cannot load .*custom code.*`trust_code: true`"):
        predicted(explicit(), tmp_path)
    assert not trace.exists()
    rows = predicted(explicit(model=ModelSpec(weights="mood", trust_code=True)), tmp_path)
    assert trace.exists(), "the attack works"
    assert rows[0]["prediction_error"] is None


@pytest.mark.promise("M126")
def test_nothing_is_asked_of_a_hub(tmp_path, monkeypatch):
    """Also not for what a folder lacks or names elsewhere."""
    write_classifier(tmp_path / "mood")
    config = json.loads((tmp_path / "mood" / "config.json").read_text())
    (tmp_path / "mood" / "config.json").write_text(json.dumps({**config, "_name_or_path": "some/where"}))
    asked = []

    def connect(_socket, address):
        asked.append(address)
        raise OSError("there is no network")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: connect(None, address))
    assert predicted(explicit(), tmp_path)[0]["prediction_error"] is None
    classes = {"AutoConfig": "some/where--own.Config", "AutoModelForSequenceClassification": "some/where--own.Network"}
    (tmp_path / "mood" / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": classes}))
    with pytest.raises(ModelError, match="transformers cannot load"):
        ModelLoader(tmp_path).bring_up_model(explicit(model=ModelSpec(weights="mood", trust_code=True)))
    assert not asked


def test_no_progress_bar_is_drawn_into_a_workers_log(tmp_path, capfd):
    write_classifier(tmp_path / "mood")
    capfd.readouterr()
    ModelLoader(tmp_path).bring_up_model(explicit())
    assert capfd.readouterr().err == ""
    assert transformers.utils.logging.is_progress_bar_enabled(), "the user's own setting is restored"


@pytest.mark.promise("M127")
def test_pickled_weights_need_trust(tmp_path):
    folder = tmp_path / "mood"
    network = write_classifier(folder)
    expected = predicted(explicit(), tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"holds no weights \(model\.safetensors\)"):
        predicted(explicit(), tmp_path)
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"is not opened: its weights are a pickle \(pytorch_model\.bin\).*`sha256: "):
        predicted(explicit(), tmp_path)
    with pytest.raises(ModelError, match=r"weights are a pickle\. Set sha256 or trust_code"):
        load_module(ModelSpec(weights="mood"), folder, torch.device("cpu"))
    pinned = ModelSpec(weights="mood", sha256=file_sha256(folder))
    for spec in (pinned, ModelSpec(weights="mood", trust_code=True)):
        found = predicted(explicit(model=spec), tmp_path)
        for row in GOOD:
            np.testing.assert_allclose(found[row]["scores"], expected[row]["scores"], atol=1e-6)
    (folder / "pytorch_model.bin").write_bytes(b"another")
    with pytest.raises(ModelError, match="the task declares"):
        predicted(explicit(model=pinned), tmp_path)


@pytest.mark.promise("M127")
def test_a_sharded_folder_is_read_from_its_own_files_alone(tmp_path):
    folder = tmp_path / "mood"
    network = write_classifier(folder)
    expected = predicted(explicit(), tmp_path)
    (folder / "model.safetensors").unlink()
    network.save_pretrained(folder, max_shard_size=10_000)
    assert len(list(folder.glob("*.safetensors"))) > 1
    found = predicted(explicit(), tmp_path)
    for row in GOOD:
        np.testing.assert_allclose(found[row]["scores"], expected[row]["scores"], atol=1e-6)
    index = folder / "model.safetensors.index.json"
    listed = json.loads(index.read_text())
    for name in ("../other.safetensors", "pytorch_model.bin"):
        weight_map = {**listed["weight_map"], "classifier.bias": name}
        index.write_text(json.dumps({**listed, "weight_map": weight_map}))
        with pytest.raises(ModelError, match=rf"names {re.escape(name)}, which is no safetensors file of this folder"):
            predicted(explicit(), tmp_path)


@pytest.mark.promise("M231")
def test_a_shard_that_has_no_digest_is_refused(tmp_path):
    folder = tmp_path / "mood"
    write_classifier(folder).save_pretrained(folder, max_shard_size=10_000)
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    listed = json.loads(index.read_text())
    shard = listed["weight_map"]["classifier.bias"]
    (folder / shard).rename(folder / f".{shard}")
    renamed = {name: f".{shard}" if file == shard else file for name, file in listed["weight_map"].items()}
    index.write_text(json.dumps({**listed, "weight_map": renamed}))
    with pytest.raises(ModelError, match=rf"names \.{re.escape(shard)}, which is no safetensors file"):
        predicted(explicit(), tmp_path)
    index.write_text(json.dumps({**listed, "weight_map": {**listed["weight_map"], "classifier.bias": [1]}}))
    with pytest.raises(ModelError, match=r"names \[1\], which is no safetensors file"):
        predicted(explicit(), tmp_path)


@pytest.mark.promise("M231")
@pytest.mark.parametrize(
    "name", ["adapter_model.bin", ".hidden.safetensors", "deeper/model.safetensors", "../m.safetensors", 5]
)
def test_settings_that_name_other_weights_are_refused(tmp_path, name):
    """transformers opens the file that `transformers_weights` names, a pickle of that one name included."""
    folder = tmp_path / "mood"
    network = write_classifier(folder)
    (folder / "deeper").mkdir()
    torch.save(network.state_dict(), folder / "adapter_model.bin")
    for copy in (".hidden.safetensors", "deeper/model.safetensors", "../m.safetensors"):
        shutil.copy(folder / "model.safetensors", folder / copy)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "transformers_weights": name}))
    with pytest.raises(ModelError, match=rf"config\.json names {re.escape(str(name))}, which is no safetensors file"):
        predicted(explicit(), tmp_path)


@pytest.mark.promise("M126")
@pytest.mark.parametrize(
    "settings",
    [
        {"_attn_implementation": "kernels-community/flash-attn"},
        {"attn_implementation": "someone/kernel@main:function"},
        {"text_config": {"experts_implementation": "someone/kernel"}},
    ],
)
def test_compiled_code_that_settings_name_is_not_run_unasked(tmp_path, settings):
    """transformers fetches it with the package kernels, whose lack would otherwise be the error."""
    write_classifier(tmp_path / "mood")
    config = json.loads((tmp_path / "mood" / "config.json").read_text())
    (tmp_path / "mood" / "config.json").write_text(json.dumps({**config, **settings}))
    with pytest.raises(ModelError, match=r"config\.json names .*/.* as .*_implementation, which is code from outside"):
        predicted(explicit(), tmp_path)


@pytest.mark.promise("M231")
def test_an_adapter_is_refused_since_its_network_may_lie_elsewhere(tmp_path):
    write_classifier(tmp_path / "mood")
    (tmp_path / "mood" / "adapter_config.json").write_text('{"base_model_name_or_path": "/etc"}')
    for task in (a_task(), explicit()):
        with pytest.raises(ModelError, match=r"holds an adapter .*merge_and_unload"):
            predicted(task, tmp_path)


@pytest.mark.promise("M125")
def test_describe_model_prints_what_was_derived(tmp_path, capsys):
    write_classifier(tmp_path / "mood")
    sparktorch_assets.describe_model(tmp_path / "mood")
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path / 'mood'}: Hugging Face folder",
        "  network     BertForSequenceClassification",
        "  output      {kind: classification}",
        "  labels      negative, neutral, positive",
        "  tokenizer   tokenizer.json",
        "  max_tokens  12",
        "  weights     model.safetensors",
    ]
    write_config(tmp_path / "other", {}, architectures=["BertModel"])
    sparktorch_assets.describe_model(str(tmp_path / "other"))
    found = capsys.readouterr().out
    assert "  network     BertModel\n  output      not known: " in found
    assert "  max_tokens  not known: " in found
    assert "  weights     not known: " in found

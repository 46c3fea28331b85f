"""Models that are incomplete, or are not what the task declares: each error says what to do, and none is found row by row."""

import json
import re

import pyarrow as pa
import pytest
import torch
from tiny_folders import TEXTS, write_classifier

from sparktorch_assets.errors import InputSchemaError, ModelError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tasks import (
    ColumnsOutput,
    EmbeddingOutput,
    GenerationOutput,
    MlTask,
    ModelSpec,
    RegressionOutput,
    TextFeature,
    TokenClassificationOutput,
)
from sparktorch_assets.tasks.digest import model_digest


@pytest.fixture
def folder(tmp_path):
    write_classifier(tmp_path / "mood")
    return tmp_path / "mood"


def a_task(**fields):
    return MlTask(
        **{"name": "mood", "model": ModelSpec(weights="mood"), "features": [TextFeature(column="text")]} | fields
    )


def predicted(root, task, texts=("the plot", "a film")):
    batch = pa.record_batch({"text": pa.array(texts, pa.string())})
    return pa.Table.from_batches(predict_map(0, [batch], task, model_loader=ModelLoader(root))).to_pylist()


@pytest.mark.promise("M236")
def test_a_folder_without_weights_is_refused_when_it_is_planned(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    (folder / "training_args.bin").write_bytes(b"no weights")
    (folder / "dangling.safetensors").symlink_to(tmp_path / "gone")
    (folder / "a folder.safetensors").mkdir()
    with pytest.raises(ModelError, match=r"mood holds no weights \(model\.safetensors\); copy the whole folder"):
        model_digest(a_task(), tmp_path)


@pytest.mark.promise("M236")
def test_a_folder_with_pickled_weights_alone_is_refused_when_it_is_planned(folder, tmp_path):
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"a pickle \(pytorch_model\.bin\).*save_pretrained.*trust_code: true"):
        model_digest(a_task(), tmp_path)


@pytest.mark.promise("M236")
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels": ["a", "b"]}, r"logits of shape \(2, 3\) for 2 rows and 2 labels.*Declare one label per logit"),
        ({"output": RegressionOutput()}, r"numbers of shape \(2, 3\).*Declare one name per number"),
        ({"output": EmbeddingOutput(length=7, pooling="mean")}, r"expected \(2, 7\). Set output.length"),
        (
            {"output": TokenClassificationOutput()},
            r"'token_classification' is declared without labels, but .*mood says .*'classification'; declare that",
        ),
        (
            {"output": GenerationOutput()},
            r"holds a BertForSequenceClassification, which writes no text: .*takes causal",
        ),
        (
            {"output": ColumnsOutput(columns={"score": "float", "scale": "float"})},
            r"names the column 's\w+', and forward returned logits: declare those names",
        ),
    ],
)
def test_a_head_that_does_not_fit_the_output_ends_the_run_and_says_what_there_is(folder, tmp_path, fields, message):
    with pytest.raises(ModelError, match=f"'mood': .*{message}"):
        predicted(tmp_path, a_task(**fields))


@pytest.mark.promise("M236")
def test_a_network_that_needs_a_padding_token_and_names_none_is_refused_at_its_first_batch(tmp_path):
    """Of a batch, GPT-2 takes the last token of each row that is not padding, and raises if its settings name no padding."""
    write_classifier(tmp_path / "mood", "gpt2")
    config = json.loads((tmp_path / "mood" / "config.json").read_text())
    expected = predicted(tmp_path, a_task(max_failed_share=1), TEXTS)
    (tmp_path / "mood" / "config.json").write_text(json.dumps({**config, "pad_token_id": None}))
    with pytest.raises(ModelError, match=r"mood/config\.json names no pad_token_id, by which GPT2For.*; add it"):
        predicted(tmp_path, a_task(max_failed_share=1), TEXTS)
    (tmp_path / "mood" / "config.json").write_text(json.dumps(config))
    assert predicted(tmp_path, a_task(max_failed_share=1), TEXTS) == expected


@pytest.mark.promise("M236")
def test_a_column_that_the_table_keeps_and_the_task_adds_is_refused_before_a_row_is_read(folder, tmp_path):
    batch = pa.record_batch({"text": ["the plot"], "predicted_class": ["mine"]})
    with pytest.raises(InputSchemaError, match=r"already has 'predicted_class'.*set output_prefix"):
        list(predict_map(0, [batch], a_task(), model_loader=ModelLoader(tmp_path)))


PARTS = [*range(10), 50, 0.1, 0.3, 0.5, 0.7, 0.9, -100, -2, -1]
"""Bytes that are left of a file: a number, a share, or all but some."""


@pytest.mark.promise("M235")
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
def test_a_file_that_was_cut_off_anywhere_is_an_error_that_names_it(folder, tmp_path, name):
    content = (folder / name).read_bytes().rstrip(b"\n")
    for part in PARTS:
        left = int(len(content) * part) if isinstance(part, float) else part
        (folder / name).write_bytes(content[:left])
        with pytest.raises(ModelError, match=re.escape(str(folder))):
            predicted(tmp_path, a_task())
    (folder / name).write_bytes(content)
    assert len(predicted(tmp_path, a_task())) == 2

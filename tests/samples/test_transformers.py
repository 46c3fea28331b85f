"""The sample's folders of transformers and sentence-transformers: their cards, and the same answers as those libraries."""

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.json
import pytest
import torch
import yaml

from sparktorch_assets.predict.frame import predict_frame
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.tasks import MlTask, ModelSpec, TextFeature

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "data/models"
FOLDERS = ("language_bert", "message_embedding")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Every 500th text of the sample, and the longest."""
    found = pyarrow.json.read_json(ROOT / "data/messages/messages.jsonl.gz")["text"].to_pylist()
    return [*found[::500], max(found, key=len)]


def predicted(folder: str, texts: list[str]) -> pd.DataFrame:
    task = MlTask(name=folder, model=ModelSpec(weights=folder), features=[TextFeature(column="text")])
    return predict_frame(pd.DataFrame({"text": texts}), task, model_loader=ModelLoader(MODELS))


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_card_belongs_to_its_weights_and_says_how_they_were_made(folder: str):
    card = json.loads((MODELS / folder / "card.json").read_text())
    assert card["weights_sha256"] == hashlib.sha256((MODELS / folder / "model.safetensors").read_bytes()).hexdigest()
    assert {"held_out_rows", "split", "trained_on", "note"} <= card.keys()


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_declaration_names_no_more_than_the_folder_and_the_rows(folder: str):
    declared = yaml.safe_load((ROOT / f"sparktorch_assets/defs/{folder}/defs.yaml").read_text())["attributes"]
    assert declared.keys() - {"truth"} == {"description", "input", "model", "features", "where", "keep_columns"}
    assert declared["model"] == {"weights": folder}


def test_languages_are_those_of_the_pipeline(texts: list[str]):
    from transformers import pipeline

    classify: Any = pipeline(
        "text-classification", model=str(MODELS / "language_bert"), dtype=torch.float32, device="cpu"
    )
    expected = [classify(text, truncation=True)[0] for text in texts]
    found = predicted("language_bert", texts)
    assert found["predicted_class"].tolist() == [answer["label"] for answer in expected]
    np.testing.assert_allclose(found["confidence"], [answer["score"] for answer in expected], atol=1e-5)


def test_vectors_are_those_of_sentence_transformers(texts: list[str]):
    from sentence_transformers import SentenceTransformer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoder = SentenceTransformer(str(MODELS / "message_embedding"), device="cpu").float()
        expected = encoder.encode(texts)
    np.testing.assert_allclose(
        np.array(predicted("message_embedding", texts)["embedding"].tolist()), expected, atol=1e-5
    )

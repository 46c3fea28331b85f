"""Assets of tasks that leave their labels, output or tokenizer to a folder of transformers or sentence-transformers."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster.components.testing import create_defs_folder_sandbox

from sparktorch_assets.errors import TaskError
from sparktorch_assets.orchestration.assets.declared import declaration_of
from sparktorch_assets.orchestration.assets.factory import build_prediction_assets, build_prediction_definitions
from sparktorch_assets.tasks import MlTask, ModelSpec, TextFeature

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
]

YAML = """\
type: sparktorch_assets.MlTaskComponent

attributes:
  input: reviews
  model: {weights: mood}
  features: [{kind: text, column: review}]
"""
TASK = MlTask(name="mood", input="reviews", model=ModelSpec(weights="mood"), features=[TextFeature(column="review")])


def write_folder(models_root: Path, **config: Any) -> None:
    folder = models_root / "mood"
    folder.mkdir(parents=True)
    given = {"architectures": ["BertForSequenceClassification"], "max_position_embeddings": 64, **config}
    (folder / "config.json").write_text(json.dumps(given))
    (folder / "tokenizer.json").write_text("{}")


def checks(definitions: dg.Definitions) -> set[str]:
    return {
        spec.name
        for asset in definitions.assets or ()
        if isinstance(asset, dg.AssetsDefinition)
        for spec in asset.check_specs
    }


@pytest.mark.promise("M124")
def test_checks_and_labels_of_an_asset_are_those_of_the_folder(tmp_path: Path):
    write_folder(tmp_path, id2label={"0": "bad", "1": "good"})
    for assets in (
        build_prediction_definitions([TASK], tmp_path).assets,
        build_prediction_assets([TASK], models_root=str(tmp_path)),
    ):
        *_, prediction = assets or ()
        assert isinstance(prediction, dg.AssetsDefinition)
        (spec,) = prediction.specs
        assert spec.metadata["labels"].text == "bad, good"
        declared = declaration_of(prediction)
        assert isinstance(declared, MlTask)
        assert declared.labels == ("bad", "good")
        assert declared.features == (TextFeature(column="review", tokenizer="mood/tokenizer.json", max_tokens=64),)


@pytest.mark.promise("M124")
def test_a_yaml_task_looks_under_the_projects_models(monkeypatch: pytest.MonkeyPatch):
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.defs_folder_path / "mood"
        folder.mkdir()
        (folder / "defs.yaml").write_text(YAML)
        models_root = sandbox.project_root / "data" / "models"
        write_folder(models_root, id2label={"0": "stars"})
        with sandbox.load_component_and_build_defs(folder) as (_, definitions):
            assert "confidence_in_range" not in checks(definitions), "the folder's model is a regression"
            kinds = {spec.metadata.get("output") for asset in definitions.assets or () for spec in asset.specs}  # type: ignore[union-attr]
            assert "regression" in kinds
        elsewhere = sandbox.project_root / "elsewhere"
        write_folder(elsewhere / "data" / "models", id2label={"0": "bad", "1": "good"})
        monkeypatch.setenv("SPARKTORCH_PROJECT_ROOT", str(elsewhere))
        with sandbox.load_component_and_build_defs(folder) as (_, definitions):
            assert "confidence_in_range" in checks(definitions)


@pytest.mark.promise("M124")
def test_a_folder_that_is_missing_is_an_error_when_the_location_is_loaded(tmp_path: Path):
    with pytest.raises(
        TaskError, match=r"task 'mood': there is no folder .*pass models_root to .*declare output, labels"
    ):
        build_prediction_definitions([TASK], tmp_path)
    complete = MlTask(
        name="mood",
        input="reviews",
        model=ModelSpec(weights="mood"),
        features=[TextFeature(column="review", tokenizer="mood/tokenizer.json")],
        labels=["bad", "good"],
    )
    assert build_prediction_definitions([complete], tmp_path).assets, "a complete task needs no folder yet"

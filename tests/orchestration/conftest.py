"""A project folder with a model file, resources over it, and the fakes put in place."""

from pathlib import Path
from typing import Any

import pytest
from orchestration_fakes import FakeLoader, FakeScorePartitions, FakeScoreTable, NoSpark

from sparktorch_assets.orchestration.resources import LakeResource, ModelLoaderResource


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "models" / "sample"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "card.json").write_text('{"held_out_accuracy": 0.9, "majority_class_accuracy": 0.6, "note": "small"}')
    for table in ("events", "predictions/other"):
        (tmp_path / "data" / "lake" / table).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def dagster_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Dagster's memory of runs, for tests with real processes."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    return home


@pytest.fixture
def resources(project: Path) -> dict[str, Any]:
    FakeLoader.described = 0
    return {
        "spark": NoSpark(),
        "model_loader": ModelLoaderResource(
            project_root=str(project), loader="orchestration_fakes:FakeLoader", batch_size=64, models_per_gpu=3
        ),
        "lake": LakeResource(project_root=str(project)),
    }


@pytest.fixture
def score(monkeypatch: pytest.MonkeyPatch) -> FakeScoreTable:
    fake = FakeScoreTable()
    monkeypatch.setattr("sparktorch_assets.spark.score.table.score_table", fake)
    return fake


@pytest.fixture
def score_partitions(monkeypatch: pytest.MonkeyPatch) -> FakeScorePartitions:
    fake = FakeScorePartitions()
    monkeypatch.setattr("sparktorch_assets.spark.score.partitions.score_partitions", fake)
    return fake

"""The model asset: its version follows the model's files, and describing a model happens once a digest."""

from pathlib import Path
from typing import Any

import dagster as dg
from orchestration_fakes import FakeLoader, a_task

from sparktorch_assets.orchestration.model_asset import build_model_asset


def run(resources: dict[str, Any]) -> dg.AssetMaterialization:
    result = dg.materialize([build_model_asset(a_task())], resources=resources)
    (event,) = result.asset_materializations_for_node("models__sample")
    return event


def version(event: dg.AssetMaterialization) -> str:
    return event.tags["dagster/data_version"]


def test_the_version_changes_with_the_weights_and_only_then(project: Path, resources: dict[str, Any]):
    first = run(resources)
    assert version(run(resources)) == version(first)
    (project / "data/models/sample/model.safetensors").write_bytes(b"other weights")
    assert version(run(resources)) != version(first)


def test_a_model_is_described_once_a_digest(project: Path, resources: dict[str, Any]):
    first, second = run(resources), run(resources)
    assert FakeLoader.described == 1
    assert first.metadata == second.metadata
    (project / "data/models/sample/model.safetensors").write_bytes(b"other weights")
    run(resources)
    assert FakeLoader.described == 2
    assert not list((project / "data/lake/_models").glob("*.tmp"))


def test_metadata_shows_the_model_and_its_card(resources: dict[str, Any]):
    event = run(resources)
    values = {name: value.value for name, value in event.metadata.items()}
    expected = {
        "parameters": 42,
        "file_bytes": 7,
        "format": "safetensors",
        "weights_sha256": "w" * 64,
        "held_out_accuracy": 0.9,
        "majority_class_accuracy": 0.6,
        "card_note": "small",
        "model_digest": version(event),
    }
    assert {name: values[name] for name in expected} == expected


def test_a_model_without_a_card_has_no_quality_to_show(project: Path, resources: dict[str, Any]):
    (project / "data/models/sample/card.json").unlink()
    assert "held_out_accuracy" not in run(resources).metadata

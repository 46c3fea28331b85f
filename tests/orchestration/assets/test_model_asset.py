"""The model asset: its version follows the model's files, and describing a model happens once a digest."""

import html
import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from orchestration_fakes import FakeLoader, a_task

from sparktorch_assets.orchestration.assets.model import build_model_asset, card_metadata
from sparktorch_assets.orchestration.assets.page.model_readme import readable_size, readme_metadata
from sparktorch_assets.orchestration.resources import LakeResource
from sparktorch_assets.tasks import ModelSpec


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


def test_a_model_can_be_part_of_a_run_over_several_partitions():
    """`dg launch --partition-range` takes only assets with this policy, whether they have partitions or not."""
    assert build_model_asset(a_task()).backfill_policy == dg.BackfillPolicy.single_run()


def test_a_model_is_described_once_a_digest(project: Path, resources: dict[str, Any]):
    first, second = run(resources), run(resources)
    assert FakeLoader.described == 1
    assert first.metadata == second.metadata
    (project / "data/models/sample/model.safetensors").write_bytes(b"other weights")
    run(resources)
    assert FakeLoader.described == 2
    assert not list((project / "data/lake/_models").glob("*.tmp"))


def test_a_lake_at_a_uri_keeps_descriptions_there(
    project: Path, resources: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """And leaves the working directory alone."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    lake = LakeResource(root=f"file://{tmp_path}/far/lake", project_root=str(project))
    run(resources | {"lake": lake})
    assert len(list((tmp_path / "far/lake/_models").glob("*.json"))) == 1
    assert not list(Path.cwd().iterdir())
    run(resources | {"lake": lake})
    assert FakeLoader.described == 1


@pytest.mark.promise("O153")
def test_the_size_is_shown_for_people_and_as_numbers(resources: dict[str, Any]):
    values = {name: value.value for name, value in run(resources).metadata.items()}
    assert values["size"] == "7 bytes, 42 parameters"
    assert (values["file_bytes"], values["parameters"]) == (7, 42)


@pytest.mark.promise("O154")
@given(st.text(st.sampled_from("`a\n#![]()<>"), max_size=30))
def test_a_readme_is_shown_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, text: str):
    """Whatever it says, it is a block of code: no link, no image, no heading."""
    folder = tmp_path_factory.mktemp("models") / "folder"
    folder.mkdir()
    (folder / "README.md").write_text(text)
    task = a_task(model=ModelSpec(weights="folder", factory="a:B", trust_code=True))
    shown = str(readme_metadata(task, folder.parent, pytest.fail)["card_readme"].value)
    rendered = MarkdownIt("commonmark", {"html": True}).render(shown)
    assert (
        rendered == f'<pre><code class="language-text">{html.escape(text).replace("&#x27;", chr(39))}\n</code></pre>\n'
    )


@pytest.mark.promise("O154")
def test_a_long_or_missing_readme(tmp_path: Path):
    task = a_task(model=ModelSpec(weights="folder", factory="a:B", trust_code=True))
    assert readme_metadata(task, tmp_path, pytest.fail) == {}
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "README.md").write_text("x" * 10_000 + "\x1b[2J")
    shown = str(readme_metadata(task, tmp_path, pytest.fail)["card_readme"].value)
    assert shown == f"```text\n{'x' * 4000}…\n```"
    assert readable_size(3 << 20) == "3.0 MiB"


def test_metadata_shows_the_model_and_its_card(resources: dict[str, Any]):
    event = run(resources)
    values = {name: value.value for name, value in event.metadata.items()}
    expected = {
        "parameters": 42,
        "file_bytes": 7,
        "format": "safetensors",
        "weights_sha256": "w" * 64,
        "card_held_out_accuracy": 0.9,
        "card_majority_class_accuracy": 0.6,
        "card_note": "small",
        "model_digest": version(event),
    }
    assert {name: values[name] for name in expected} == expected


def test_a_model_without_a_card_has_no_quality_to_show(project: Path, resources: dict[str, Any]):
    (project / "data/models/sample/card.json").unlink()
    assert not [name for name in run(resources).metadata if name.startswith("card_")]


COMPUTED = {
    "size": "7 bytes, 42 parameters",
    "parameters": 42,
    "file_bytes": 7,
    "format": "safetensors",
    "weights_sha256": "w" * 64,
}


def shown(event: dg.AssetMaterialization) -> dict[str, Any]:
    return {name: value.value for name, value in event.metadata.items()}


@pytest.mark.parametrize(
    "card",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"1",
        b"null",
        b"[" * 100_000,
        b'{"a": ' + b"9" * 5_000 + b"}",
        b" " * (1 << 21),
    ],
)
def test_a_broken_card_is_a_warning_and_no_failure(
    project: Path, resources: dict[str, Any], card: bytes, capfd: pytest.CaptureFixture[str]
):
    (project / "data/models/sample/card.json").write_bytes(card)
    event = run(resources)
    assert shown(event) == {**COMPUTED, "model_digest": version(event)}
    assert "card.json is not shown" in "".join(capfd.readouterr())


def test_a_card_that_cannot_be_read_is_a_warning(
    project: Path, resources: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    def fail(_: Path) -> bytes:
        raise PermissionError("not yours")

    monkeypatch.setattr(Path, "read_bytes", fail)
    warnings: list[str] = []
    assert card_metadata(a_task(), project / "data/models", warnings.append) == {}
    assert "not yours" in warnings[0]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
KEYS = st.sampled_from([*COMPUTED, "model_digest", "dagster/row_count", "note", "split", "trained_on"]) | st.text(
    max_size=5
)


@given(st.dictionaries(KEYS, JSON, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_card_changes_what_was_computed(tmp_path: Path, card: dict[str, Any]):
    """Whatever it holds, Dagster takes it, and its entries stand under names of their own."""
    folder = tmp_path / "sample"
    folder.mkdir(exist_ok=True)
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    warnings: list[str] = []
    metadata = card_metadata(a_task(), tmp_path, warnings.append)
    assert not warnings
    assert all(name.startswith("card_") for name in metadata)
    dg.serialize_value(dg.AssetMaterialization("a", metadata=metadata))

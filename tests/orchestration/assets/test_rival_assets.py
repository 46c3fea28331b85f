"""Champions and challengers as assets: the graph that declarations give, the comparison's page, and a promotion in YAML."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from dagster.components.testing import create_defs_folder_sandbox
from deltalake import DeltaTable, write_deltalake
from orchestration_fakes import FakeScoreTable, a_task
from page_blocks import blocks_run_by

from sparktorch_assets.errors import TaskError
from sparktorch_assets.orchestration.assets.factory import build_prediction_assets, build_prediction_definitions
from sparktorch_assets.orchestration.resources import LakeResource
from sparktorch_assets.tasks import ChallengerOf, MlTask

PNG = b"\x89PNG\r\n\x1a\nnot really"
KEY = dg.AssetKey(["comparisons", "rival"])
CHAMPION = a_task(keep_columns=["event_id", "truth"], truth="truth")
RIVAL = a_task(name="rival", challenger_of=ChallengerOf(task="sample", join_on=["event_id"]))


def write(lake: LakeResource, name: str, classes: list[str | None], **more: Any) -> None:
    table = pa.table(
        {
            "event_id": pa.array(range(len(classes)), pa.int64()),
            **more,
            "predicted_class": pa.array(classes, pa.string()),
            "confidence": pa.array([None if found is None else 0.5 for found in classes], pa.float32()),
            "prediction_error": pa.nulls(len(classes), pa.string()),
        }
    )
    write_deltalake(lake.table_uri(dg.AssetKey(["predictions", name])), table, mode="overwrite")


@pytest.fixture
def lake(tmp_path: Path) -> LakeResource:
    found = LakeResource(root=str(tmp_path))
    write(found, "sample", ["no", "yes", "yes"], truth=["no", "no", "yes"], a=[PNG] * 3, b=[1, 2, 3])
    write(found, "rival", ["no", "no", None])
    return found


def assets(*tasks: MlTask) -> dict[str, dg.AssetsDefinition]:
    return {asset.key.to_user_string(): asset for asset in build_prediction_assets(tasks)}


def compare(lake: LakeResource, instance: dg.DagsterInstance, rival: MlTask = RIVAL) -> dict[str, Any]:
    asset = assets(CHAMPION, rival)["comparisons/rival"]
    result = dg.materialize([asset], resources={"lake": lake}, instance=instance)
    (event,) = result.asset_materializations_for_node("compare_rival")
    return {
        "version": event.tags["dagster/data_version"],
        **{name: found.value for name, found in event.metadata.items()},
    }


def test_a_challenger_has_an_asset_that_compares_both_predictions():
    built = assets(CHAMPION, RIVAL)
    deps = {dg.AssetKey(["predictions", "sample"]), dg.AssetKey(["predictions", "rival"])}
    assert built["comparisons/rival"].asset_deps[KEY] == deps
    assert set(built) == {
        "models/sample",
        "predictions/sample",
        "models/rival",
        "predictions/rival",
        "comparisons/rival",
    }


@pytest.mark.promise("O100", "O101", "O103")
def test_the_page_says_who_is_right_and_shows_the_images_of_disagreements(lake: LakeResource):
    with dg.DagsterInstance.ephemeral() as instance:
        shown = compare(lake, instance)
    assert (shown["agreement"], shown["champion_accuracy"], shown["challenger_accuracy"]) == (1 / 3, 2 / 3, 2 / 3)
    assert (shown["rows_compared"], shown["disagreements"]) == (3, 1)
    assert shown["most_confident_disagreements"].count("data:image/png") == 1
    assert "| yes | 2 | 0.00% | (failed): 1, no: 1 |" in shown["agreement_by_class"].replace("&#95;", "_")
    pairs = DeltaTable(lake.table_uri(KEY)).to_pyarrow_table().to_pylist()
    assert {(row["champion"], row["challenger"]) for row in pairs} == {("no", "no"), ("yes", "no"), ("yes", None)}


@pytest.mark.promise("O102")
def test_unchanged_tables_are_not_compared_again(lake: LakeResource, monkeypatch: pytest.MonkeyPatch):
    with dg.DagsterInstance.ephemeral() as instance:
        first = compare(lake, instance)
        with monkeypatch.context() as patched:
            patched.setattr("sparktorch_assets.comparison.compare.compare_predictions", None)
            second = compare(lake, instance)
        assert (first["changed"], second["changed"]) == (True, False)
        assert {**first, "changed": False} == second
        write(lake, "rival", ["no", "yes", "yes"])
        third = compare(lake, instance)
    assert (third["agreement"], third["changed"]) == (1.0, True)
    assert third["version"] != first["version"]


def test_rows_of_a_task_that_shows_none_are_not_shown(lake: LakeResource):
    with dg.DagsterInstance.ephemeral() as instance:
        shown = compare(lake, instance, replace(RIVAL, preview_rows=0))
    assert "most_confident_disagreements" not in shown


@pytest.mark.promise("O104")
def test_a_promoted_champion_runs_the_challengers_task_and_looks_into_its_table(
    project: Path, resources: dict[str, Any], score: FakeScoreTable
):
    rival = replace(RIVAL, labels=("yes", "no"))
    asset = assets(replace(CHAMPION, promoted="rival", description="Ours."), rival)["predictions/sample"]
    assert dg.AssetKey(["predictions", "rival"]) in asset.asset_deps[asset.key]
    dg.materialize([asset], resources=resources)
    (call,) = score.calls
    assert (call["task"].name, call["task"].labels, call["task"].description) == ("sample", ("yes", "no"), "Ours.")
    assert call["output_table"].endswith("/predictions/sample")
    assert call["adopt_from"] == [f"{project}/data/lake/predictions/rival"]


@pytest.mark.promise("O109")
def test_champions_and_challengers_look_into_each_others_tables(
    project: Path, resources: dict[str, Any], score: FakeScoreTable
):
    built = assets(CHAMPION, RIVAL)
    dg.materialize([built["predictions/sample"], built["predictions/rival"]], resources=resources)
    found = {call["task"].name: call["adopt_from"] for call in score.calls}
    assert found == {
        "sample": [f"{project}/data/lake/predictions/rival"],
        "rival": [f"{project}/data/lake/predictions/sample"],
    }


@pytest.mark.promise("O108")
def test_a_champion_that_is_not_declared_is_refused_when_the_location_loads():
    with pytest.raises(TaskError, match="'rival': challenger_of names 'sample', and there is no such task"):
        build_prediction_definitions([RIVAL])
    assert build_prediction_definitions([RIVAL], others=[CHAMPION]).assets
    with pytest.raises(TaskError, match="read different tables"):
        build_prediction_definitions([RIVAL], others=[replace(CHAMPION, input="others")])


TASK = """\
type: sparktorch_assets.MlTaskComponent
attributes:
  input: events
  model: {{weights: {name}.safetensors, architecture: 'torch.nn:Linear', arguments: {{in_features: {width}, out_features: 2}}}}
  features: [{{kind: numeric, columns: [{columns}]}}]
  labels: ["0", "1"]
  keep_columns: [event_id]
"""
ONE = TASK.format(name="one", width=1, columns="a")
TWO = TASK.format(name="two", width=2, columns="a, b") + "  challenger_of: {task: one, join_on: [event_id]}\n"


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::dagster.PreviewWarning")
def test_the_declarations_of_the_page_load():
    """The challenger with a champion that is like it, and that champion with the page's line."""
    challenger, line = (block.text for block in blocks_run_by(__file__))
    challenger = challenger.replace("my_project.nets:DigitNet", "sparktorch_assets.samples.digits:DigitNet")
    champion = challenger.partition("  challenger_of:")[0] + line.partition("attributes:\n")[2]
    with create_defs_folder_sandbox() as sandbox:
        for name, text in (("digit", champion), ("digit_challenger", challenger)):
            (sandbox.defs_folder_path / name).mkdir()
            (sandbox.defs_folder_path / name / "defs.yaml").write_text(text)
        with sandbox.build_all_defs() as definitions:
            keys = {spec.key.to_user_string() for asset in definitions.assets for spec in asset.specs}
    assert {"comparisons/digit_challenger", "predictions/digit"} <= keys


@pytest.mark.promise("O104")
@pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::dagster.PreviewWarning")
def test_one_line_of_yaml_promotes_a_challenger():
    versions = []
    for line in ("", "  promoted: two\n"):
        with create_defs_folder_sandbox() as sandbox:
            for name, text in (("one", ONE + line), ("two", TWO)):
                (sandbox.defs_folder_path / name).mkdir()
                (sandbox.defs_folder_path / name / "defs.yaml").write_text(text)
            with sandbox.build_all_defs() as definitions:
                specs = {spec.key: spec for asset in definitions.assets for spec in asset.specs}
        assert dg.AssetKey(["comparisons", "two"]) in specs
        versions.append([specs[dg.AssetKey(["predictions", name])].code_version for name in ("one", "two")])
    (one, two), promoted = versions
    assert one != two
    assert promoted == [two, two]

"""The whole sample graph on trimmed inputs, by a plain dagster-pyspark resource: known answers, then two refreshes."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_pyspark import LazyPySparkResource
from deltalake import DeltaTable
from orchestration_fakes import NoSpark

from sparktorch_assets.orchestration.commands.run import load_definitions
from sparktorch_assets.orchestration.partitions.runs import range_tags
from sparktorch_assets.orchestration.resources import LakeResource, ModelLoaderResource

pytestmark = [pytest.mark.jvm, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[3]
FLIGHTS_A_MONTH = 1_000
MONTHS = ("2013-01", "2013-02")


@pytest.fixture(scope="module")
def sample_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample data: two months of a thousand flights, all digits, every tenth message and all French ones."""
    project = tmp_path_factory.mktemp("sample")
    data = project / "data"
    (data / "flights").mkdir(parents=True)
    (data / "messages").mkdir()
    for month in MONTHS:
        with gzip.open(ROOT / f"data/flights/{month}.csv.gz", "rt") as source:
            lines = [next(source) for _ in range(1 + FLIGHTS_A_MONTH)]
        with gzip.open(data / f"flights/{month}.csv.gz", "wt") as target:
            target.writelines(lines)
    with gzip.open(ROOT / "data/messages/messages.jsonl.gz", "rt", encoding="utf-8") as source:
        messages = [
            line for index, line in enumerate(source) if index % 10 == 0 or json.loads(line)["language"] == "fr"
        ]
    with gzip.open(data / "messages/messages.jsonl.gz", "wt", encoding="utf-8") as target:
        target.writelines(messages)
    shutil.copytree(ROOT / "data/digits", data / "digits")
    (data / "models").symlink_to(ROOT / "data/models")
    return project


def materialize(project: Path, spark: Any) -> dg.ExecuteInProcessResult:
    definitions = load_definitions("sparktorch_assets.definitions")
    root = str(project)
    return dg.materialize(
        list(definitions.assets or []),
        resources={
            "spark": spark,
            "model_loader": ModelLoaderResource(project_root=root, device="cpu"),
            "lake": LakeResource(project_root=root),
        },
        tags=range_tags(["2013-01-01", "2013-12-01"]),
    )


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    return {
        event.asset_key.to_user_string(): {name: value.value for name, value in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
    }


def accuracy(project: Path, table: str, predicted: str, label: str) -> float:
    rows = DeltaTable(project / "data/lake" / table).to_pyarrow_table(columns=[predicted, label])
    pairs = list(zip(rows[predicted].to_pylist(), rows[label].to_pylist(), strict=True))
    return sum(found == true for found, true in pairs) / len(pairs)


@pytest.fixture(scope="module")
def first(sample_project: Path, spark: Any) -> dg.ExecuteInProcessResult:
    # The running session is what dagster-pyspark's own resource finds.
    return materialize(sample_project, LazyPySparkResource(spark_config={}))


def test_every_asset_is_materialized_and_every_check_passes(first: dg.ExecuteInProcessResult):
    assert first.success
    assert len(metadata(first)) == 26
    evaluations = first.get_asset_check_evaluations()
    declared = load_definitions("sparktorch_assets.definitions").resolve_asset_graph().asset_check_keys
    assert {found.asset_check_key for found in evaluations} == declared
    assert len(evaluations) == 7 * 4 + 3 + 4 + 4 + 3 * 2 + 3  # of classes, numbers, labels, vectors, inputs; an audit
    assert [found.check_name for found in evaluations if not found.passed] == []


def test_known_answers(first: dg.ExecuteInProcessResult, sample_project: Path):
    """Of the pretrained digit models on all 5,000 rows: answers to reproduce, no claims of quality."""
    found = metadata(first)
    assert accuracy(sample_project, "predictions/digit", "predicted_class", "label") == pytest.approx(0.9986, abs=1e-4)
    assert found["comparisons/digit_challenger"]["champion_accuracy"] == pytest.approx(0.9986, abs=1e-4)
    assert found["comparisons/digit_challenger"]["challenger_accuracy"] == pytest.approx(0.6566, abs=6e-4)
    assert accuracy(sample_project, "predictions/language", "predicted_class", "language") > 0.75
    assert accuracy(sample_project, "predictions/language_bert", "predicted_class", "language") > 0.7
    assert accuracy(sample_project, "predictions/component", "component_predicted_class", "component") > 0.75
    delays = DeltaTable(sample_project / "data/lake/predictions/arrival_delay").to_pyarrow_table().to_pandas()
    known = delays[delays["arr_delay"].notna()]
    error = (known["predicted_arrival_delay"] - known["arr_delay"]).abs().mean()
    assert error < (known["arr_delay"].median() - known["arr_delay"]).abs().mean()


def test_rows_add_up_along_the_graph(first: dg.ExecuteInProcessResult, sample_project: Path):
    rows = {asset: values.get("dagster/row_count") for asset, values in metadata(first).items()}
    flights = len(MONTHS) * FLIGHTS_A_MONTH
    for asset in ("flights", "predictions/late_arrival", "predictions/arrival_delay", "flight_risk"):
        assert rows[asset] == flights
    for asset in ("digits", "predictions/digit", "predictions/digit_challenger"):
        assert rows[asset] == 5_000
    assert metadata(first)["comparisons/digit_challenger"]["rows_compared"] == 5_000
    language = DeltaTable(sample_project / "data/lake/predictions/language").to_pyarrow_table()
    assert rows["messages"] == language.num_rows
    languages, components = (language[name].to_pylist() for name in ("language", "component"))
    assert rows["predictions/language_bert"] == components.count("auth") > 300
    for asset in ("predictions/message_topics", "predictions/message_embedding"):
        assert rows[asset] == sum(map(languages.count, ("de", "en_GB", "es", "fr"))) > 400
    assert 0 < rows["similar_messages"] <= rows["predictions/message_embedding"]
    assert rows["predictions/component"] == language["predicted_class"].to_pylist().count("fr") > 300


def test_a_models_parameters_and_quality_are_shown(first: dg.ExecuteInProcessResult):
    found = metadata(first)["models/late_arrival"]
    assert found["parameters"] > 10_000
    assert {"card_held_out_accuracy", "card_majority_class_accuracy", "card_note"} <= found.keys()


@pytest.mark.promise("O2")
def test_nothing_changed_means_no_session_and_no_new_version(first: dg.ExecuteInProcessResult, sample_project: Path):
    before = metadata(first)
    second = materialize(sample_project, NoSpark())
    for asset, values in metadata(second).items():
        if "delta_version" in values:
            assert values["changed"] is False
            assert values["delta_version"] == before[asset]["delta_version"]
            assert values["dagster/row_count"] == before[asset]["dagster/row_count"]


def test_a_source_file_that_goes_takes_its_rows_along_the_graph(first: dg.ExecuteInProcessResult, sample_project: Path):
    (sample_project / f"data/flights/{MONTHS[1]}.csv.gz").unlink()
    third = metadata(materialize(sample_project, NoSpark()))
    assert third["flights"]["files_removed"] == 1
    for asset in ("flights", "predictions/late_arrival", "predictions/cancellation", "flight_risk"):
        assert third[asset]["dagster/row_count"] == FLIGHTS_A_MONTH
    assert third["predictions/late_arrival"]["rows_scored_this_run"] == 0
    assert third["predictions/digit"]["changed"] is False

"""An asset's page shows what people look for first, in the order in which Dagster stores the entries."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from orchestration_fakes import FakeScoreTable, a_task

from sparktorch_assets.orchestration.assets.model import build_model_asset
from sparktorch_assets.orchestration.assets.page.metadata import input_metadata
from sparktorch_assets.orchestration.assets.prediction import build_prediction_asset
from sparktorch_assets.spark.inputs.materialize import InputReport
from sparktorch_assets.tasks import InputTable


def stored(asset: dg.AssetsDefinition, resources: Mapping[str, Any]) -> list[str]:
    """The entries as the page reads them: from the storage of events."""
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([asset], resources=resources, instance=instance)
        event = instance.get_latest_materialization_event(asset.key)
    assert event is not None
    assert event.asset_materialization is not None
    return list(event.asset_materialization.metadata)


def in_order(entries: list[str], *wanted: str) -> bool:
    return sorted(wanted, key=entries.index) == list(wanted)


@pytest.mark.promise("O44")
def test_predictions_show_rows_failures_classes_confidences_and_speed_first(
    resources: dict[str, Any], score: FakeScoreTable
):
    entries = stored(build_prediction_asset(a_task()), resources)
    assert entries[:4] == ["dagster/row_count", "failed_rows", "failure_reasons", "dropped_rows"]
    first = ("failed_rows", "classes", "confidence_mean", "confidence_histogram", "preview", "rows_per_second")
    assert in_order(entries, *first, "seconds_total", "device", "shards", "class_shares", "dagster/uri", "model_digest")
    assert entries[-1] == "model_digest"


@pytest.mark.promise("O44")
def test_models_show_their_quality_first_and_digests_last(resources: dict[str, Any], project: Path):
    entries = stored(build_model_asset(a_task()), resources)
    assert entries[0] == "card_held_out_accuracy"
    assert entries[-2:] == ["weights_sha256", "model_digest"]
    assert in_order(entries, "card_held_out_accuracy", "parameters", "format", "weights_sha256")


@pytest.mark.promise("O44")
def test_inputs_show_rows_and_rejected_rows_first():
    report = InputReport(
        table="rows",
        uri="/lake/rows", rows=2, rejected_rows=1, rejected_table="/lake/rows__rejected", files_new=1, files_unchanged=0,
        files_removed=0, changed=True, seconds=1.0, version=0, rows_before=0, data_version="v",
    )  # fmt: skip
    table = InputTable(name="rows", source="rows.csv", format="csv", columns={"id": "long"})
    entries = list(input_metadata(table, report, pa.schema([("id", pa.int64())]), [{"id": 1}]))
    assert entries[:4] == ["dagster/row_count", "rejected_rows", "rejected_table", "preview"]
    assert in_order(entries, "files_new", "seconds_total", "source", "dagster/uri")

"""Where columns come from, and what their sources say about them: through chains, hooks and assets of one's own."""

from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from dagster import ComponentTree
from orchestration_fakes import FakeScoreTable, a_task

from sparktorch_assets import column_lineage, lineage_metadata
from sparktorch_assets.defs.flight_risk import LATE, join_risks, sources_of
from sparktorch_assets.errors import TaskError
from sparktorch_assets.orchestration.assets.input import build_input_asset
from sparktorch_assets.orchestration.assets.page.lineage import prediction_lineage
from sparktorch_assets.orchestration.assets.page.metadata import input_metadata
from sparktorch_assets.orchestration.assets.prediction import build_prediction_asset
from sparktorch_assets.spark.inputs.materialize import InputReport
from sparktorch_assets.spark.inputs.sources import find_sources
from sparktorch_assets.tasks import Hooks, InputTable, SourceColumn

SHORT = InputTable(name="events", source=["*.csv"], format="csv", columns={"event_id": "long", "a": "double"})
LONG = InputTable(
    name="events",
    source=["*.csv"],
    format="csv",
    columns={"event_id": SourceColumn(type="long", description="Of the shop"), "a": "double"},
)


def found(lineage: dg.TableColumnLineage) -> dict[str, list[str]]:
    return {
        column: sorted(f"{dep.asset_key.to_user_string()}.{dep.column_name}" for dep in deps)
        for column, deps in lineage.deps_by_column.items()
    }


def test_an_assets_own_lineage_is_written_as_pairs():
    lineage = column_lineage({"risk": [(LATE, "predicted_class"), ("flights", "origin")], "id": []})
    assert found(lineage) == {"risk": ["flights.origin", "predictions/late_arrival.predicted_class"], "id": []}


def test_hook_columns_come_from_whole_rows():
    task = a_task(hooks=Hooks(row_postprocessor="json:loads"), hook_columns={"mark": "string"})
    lineage = found(prediction_lineage(task, ["event_id", "predicted_class", "mark"]))
    assert lineage["predicted_class"] == ["events.a", "events.b"]
    assert lineage["mark"] == ["events.a", "events.b", "events.event_id"]


def test_where_a_preprocessor_makes_the_features_predictions_come_from_every_column():
    task = a_task(hooks=Hooks(row_preprocessor="json:loads"))
    columns = ["event_id", "predicted_class", "time_month"]
    assert found(prediction_lineage(task, columns, ["event_id", "raw"])) == {
        "event_id": ["events.event_id"],
        "predicted_class": ["events.event_id", "events.raw"],
        "time_month": [],  # a partition's column, which the input does not have
    }


@pytest.mark.promise("O99")
def test_a_description_changes_neither_parts_nor_code_version(tmp_path: Path):
    (tmp_path / "x.csv").write_text("event_id,a\n1,2\n")
    one, other = ([file.fingerprint for file in find_sources(table, tmp_path)] for table in (SHORT, LONG))
    assert one == other
    one, other = (next(iter(build_input_asset(table).code_versions_by_key.values())) for table in (SHORT, LONG))
    assert one == other
    assert LONG.typed_columns == SHORT.typed_columns


def test_a_described_column_is_checked_as_any_other():
    with pytest.raises(TaskError, match="columns gives 'a' the type 'lnog'; did you mean 'long'"):
        InputTable(name="t", source="x", format="csv", columns={"a": SourceColumn(type="lnog")})


@pytest.mark.promise("O99")
def test_yaml_describes_columns():
    table = ComponentTree.for_project(Path(__file__).parents[3]).load_component("digits").table
    assert table.typed_columns == (("digit_id", "long"), ("image", "binary"), ("label", "string"))
    assert table.described_columns == {"image": "28 x 28 pixels, PNG", "label": "The digit that was written"}


@pytest.mark.promise("O99")
def test_kept_columns_carry_the_descriptions_of_their_source(resources: dict[str, Any], score: FakeScoreTable):
    """As the input's page showed them last; so do the columns of a further task over the predictions."""
    report = InputReport(
        table="events", uri="/lake/events", rows=2, rejected_rows=0, rejected_table="", files_new=1, files_unchanged=0,
        files_removed=0, changed=True, seconds=1.0, version=0, rows_before=0, data_version="v",
    )  # fmt: skip
    schema = pa.schema([("event_id", pa.int64()), ("a", pa.float64()), ("b", pa.float64())])

    @dg.asset
    def events() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata=input_metadata(LONG, report, schema, []))

    chained = a_task(name="chained", input="predictions/sample", output_prefix="c_")
    with dg.DagsterInstance.ephemeral() as instance:
        for asset in (events, build_prediction_asset(a_task()), build_prediction_asset(chained)):
            dg.materialize([asset], resources=resources, instance=instance)
        event = instance.get_latest_materialization_event(dg.AssetKey(["predictions", "chained"]))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    columns = {column.name: column.description for column in metadata["dagster/column_schema"].value.columns}  # type: ignore[union-attr]
    assert columns["event_id"] == "Of the shop"
    assert columns["c_confidence"] == "Softmax probability of that class, in [0, 1]"
    lines = str(metadata["column_sources"].value).splitlines()
    assert lines[2] == "| event&#95;id | predictions/sample.event&#95;id | events.event&#95;id |"
    assert found(metadata["dagster/column_lineage"].value)["event_id"] == ["predictions/sample.event_id"]  # type: ignore[arg-type]


@pytest.mark.promise("O98")
def test_columns_are_followed_through_what_upstream_assets_recorded():
    """Through a chain, to several origins, once each; an asset that leads back to itself ends the search."""
    recorded = {
        "predictions/a": {"class": [("source", "x"), ("source", "y")], "loop": [("predictions/a", "loop")]},
        "source": {},
    }
    with dg.DagsterInstance.ephemeral() as instance:
        for asset, columns in recorded.items():
            entries = {"dagster/column_lineage": column_lineage(columns)} if columns else {}
            key = dg.AssetKey(asset.split("/"))
            instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata=entries))
        made = column_lineage(
            {"b": [("predictions/a", "class"), ("source", "x")], "c": [("predictions/a", "loop")], "d": []}
        )
        shown = str(lineage_metadata(instance, made)["column_sources"].value).splitlines()[2:]
    assert shown == [
        "| b | predictions/a.class, source.x | source.x, source.y |",
        "| c | predictions/a.loop |  |",
        "| d |  |  |",
    ]


@pytest.mark.promise("O98")
def test_every_column_of_the_samples_report_leads_to_the_predictions():
    late = pa.table(
        {
            "flight_id": [1],
            "carrier": ["UA"],
            "predicted_class": ["late"],
            "confidence": pa.array([0.9], pa.float32()),
            "prediction_error": pa.array([None], pa.string()),
        }
    )
    names = join_risks(late, late.drop_columns(["carrier"])).column_names
    lineage = found(column_lineage(sources_of(names)))
    assert list(lineage) == names
    assert lineage["carrier"] == ["predictions/late_arrival.carrier"]
    assert lineage["late_probability"] == [
        "predictions/late_arrival.confidence",
        "predictions/late_arrival.predicted_class",
    ]
    assert lineage["risk"] == ["predictions/cancellation.predicted_class", "predictions/late_arrival.predicted_class"]
    assert all(lineage.values())

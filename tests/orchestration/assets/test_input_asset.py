"""The input asset: what it hands to materialize_input, what it shows, and its check."""

import logging
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from sparktorch_assets.errors import RowsRejectedError, RowsVanishedError, SparktorchError
from sparktorch_assets.orchestration.assets.input import build_input_asset
from sparktorch_assets.spark.inputs.materialize import InputReport
from sparktorch_assets.tasks import InputTable

TABLE = InputTable(
    name="events",
    source=["data/*.csv"],
    format="csv",
    columns={"event_id": "long", "image": "binary", "text": "string"},
)


class FakeMaterializeInput:
    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.rejected_rows = 0
        self.rows = self.rows_before = 2
        self.error: SparktorchError | None = None

    def __call__(self, spark: Any, table: InputTable, *, table_uri: str, **given: Any) -> InputReport:
        self.calls.append({"table": table, "table_uri": table_uri, **given})
        if self.error is not None:
            raise self.error
        rows = {"event_id": [1, 2], "image": [b"\x89PNG\r\n\x1a\n..", b"x" * 123], "text": ["a|b", "<script>"]}
        write_deltalake(table_uri, pa.table(rows), mode="overwrite")
        return InputReport(
            table=table.name,
            uri=table_uri,
            version=0,
            changed=True,
            rows=self.rows,
            rows_before=self.rows_before,
            rejected_rows=self.rejected_rows,
            rejected_table=f"{table_uri}__rejected",
            files_new=1,
            files_unchanged=3,
            files_removed=2,
            seconds=1.5,
            data_version="in1",
        )


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> FakeMaterializeInput:
    fake = FakeMaterializeInput()
    monkeypatch.setattr("sparktorch_assets.spark.inputs.materialize.materialize_input", fake)
    return fake


def test_it_reads_from_the_project_into_the_lake(project: Path, resources: dict[str, Any], read: FakeMaterializeInput):
    result = dg.materialize([build_input_asset(TABLE)], resources=resources)
    (call,) = read.calls
    assert call == {
        "table": TABLE,
        "table_uri": f"{project}/data/lake/events",
        "project_root": project,
        "run_id": result.run_id,
    }
    (event,) = result.asset_materializations_for_node("read_events")
    values = {name: value.value for name, value in event.metadata.items()}
    assert event.tags["dagster/data_version"] == "in1"
    expected = {"dagster/row_count": 2, "files_new": 1, "files_unchanged": 3, "files_removed": 2, "seconds_total": 1.5}
    assert {name: values[name] for name in expected} == expected


def test_a_preview_shows_images_and_keeps_markup_out(resources: dict[str, Any], read: FakeMaterializeInput):
    result = dg.materialize([build_input_asset(TABLE)], resources=resources)
    (event,) = result.asset_materializations_for_node("read_events")
    preview = str(event.metadata["preview"].value)
    assert "![](data:image/png;base64," in preview
    assert "| (123 bytes) |" in preview
    assert "a&#124;b" in preview
    assert "<script>" not in preview


@pytest.mark.parametrize(("rejected", "passes"), [(0, True), (1, False)])
def test_the_check_fails_above_the_tables_limit(
    resources: dict[str, Any], read: FakeMaterializeInput, rejected: int, passes: bool
):
    read.rejected_rows = rejected
    result = dg.materialize([build_input_asset(TABLE)], resources=resources, raise_on_error=False)
    assert checks(result) == {"rejected_share": passes, "rows_vanished": True}


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}


@pytest.mark.parametrize(("before", "passes"), [(0, True), (1, True), (4, True), (5, False)])
def test_the_check_fails_where_more_rows_vanished_than_the_table_allows(
    resources: dict[str, Any], read: FakeMaterializeInput, before: int, passes: bool
):
    read.rows_before = before
    result = dg.materialize([build_input_asset(TABLE)], resources=resources, raise_on_error=False)
    assert checks(result) == {"rejected_share": True, "rows_vanished": passes}


@pytest.mark.parametrize(
    ("error", "check"),
    [
        (RowsVanishedError("all rows would leave"), "rows_vanished"),
        (RowsRejectedError("no row parses"), "rejected_share"),
    ],
    ids=["vanished", "rejected"],
)
def test_a_refused_refresh_fails_the_check_and_stops_what_is_downstream(
    resources: dict[str, Any], read: FakeMaterializeInput, error: Exception, check: str
):
    """A check that was never evaluated would stay as green as it was."""

    @dg.asset(deps=["events"])
    def downstream() -> None:
        raise AssertionError("ran on an input whose refresh was refused")

    read.error = error
    result = dg.materialize([build_input_asset(TABLE), downstream], resources=resources, raise_on_error=False)
    (evaluation,) = result.get_asset_check_evaluations()
    assert (evaluation.check_name, evaluation.passed, evaluation.blocking) == (check, False, True)
    assert evaluation.description == str(error)
    assert not result.asset_materializations_for_node("read_events")
    assert not result.asset_materializations_for_node("downstream")


@pytest.mark.parametrize(("rows", "warned"), [(0, True), (2, False)])
def test_a_table_without_rows_is_a_warning(
    resources: dict[str, Any], read: FakeMaterializeInput, rows: int, warned: bool
):
    """A first read of files that hold a header alone: no limit is exceeded, as no row was there before."""
    read.rows, read.rows_before = rows, 0
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([build_input_asset(TABLE)], resources=resources, instance=instance)
        warnings = [entry.user_message for entry in instance.all_logs(result.run_id) if entry.level == logging.WARNING]
    assert [("events has no rows" in warning, "header" in warning) for warning in warnings] == [(True, True)] * warned

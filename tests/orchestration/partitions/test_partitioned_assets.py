"""Assets with partitions: what a run over several of them computes, records and shows, and how it fails."""

import datetime as dt
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value
from deltalake import write_deltalake
from orchestration_fakes import FakeScorePartitions, FakeScoreTable, a_task

from sparktorch_assets.errors import (
    AuditFailedError,
    AuditOutcome,
    FailureReason,
    PartitionsRefusedError,
    TableError,
    TaskError,
    TooManyFailedRowsError,
)
from sparktorch_assets.orchestration.assets.input import build_input_asset
from sparktorch_assets.orchestration.assets.prediction import build_prediction_asset
from sparktorch_assets.orchestration.partitions.runs import range_tags
from sparktorch_assets.spark.inputs.materialize import InputReport
from sparktorch_assets.tasks import AuditPolicy, DynamicPartitions, InputTable, MlTask, StaticPartitions, TimePartitions

MONTHS = TimePartitions(by="month", column="at", start="2013-01-01", end="2013-07-01")
JANUARY, FEBRUARY, MARCH = KEYS = ["2013-01-01", "2013-02-01", "2013-03-01"]
PREDICTIONS, EVENTS = dg.AssetKey(["predictions", "sample"]), dg.AssetKey("events")
COLUMNS = {"event_id": "long", "at": "timestamp", "place": "string"}


def a_table(**changes: Any) -> InputTable:
    fields: dict[str, Any] = {"name": "events", "source": ["in/*.csv"], "format": "csv", "columns": COLUMNS}
    return InputTable(**{**fields, "partitions": MONTHS, **changes})


def a_row(month: int | None, place: str | None = "EWR") -> dict[str, Any]:
    at = None if month is None else dt.datetime(2013, month, 9, tzinfo=dt.UTC)
    return {"event_id": 1, "at": at, "place": place}


ROWS = [a_row(1), a_row(1), a_row(2, "JFK"), a_row(3), a_row(12, None), a_row(None)]


@pytest.fixture
def events(project: Path) -> str:
    uri = f"{project}/data/lake/events"
    schema = pa.schema({"event_id": pa.int64(), "at": pa.timestamp("us", "UTC"), "place": pa.string()})
    write_deltalake(uri, pa.Table.from_pylist(ROWS, schema))
    return uri


@pytest.fixture
def read(events: str, monkeypatch: pytest.MonkeyPatch) -> list[InputTable]:
    """Input tables that were brought up to date."""
    seen: list[InputTable] = []

    def materialize(spark: Any, table: InputTable, **given: Any) -> InputReport:
        seen.append(table)
        counts = {"files_new": 0, "files_unchanged": 1, "files_removed": 0, "rejected_rows": 0}
        return InputReport(
            table="events", uri=events, version=0, changed=False, rows=6, rows_before=6, rejected_table=None, seconds=0.1,
            data_version="whole", **counts,
        )  # fmt: skip

    monkeypatch.setattr("sparktorch_assets.spark.inputs.materialize.materialize_input", materialize)
    return seen


def run(
    asset: dg.AssetsDefinition,
    resources: dict[str, Any],
    instance: dg.DagsterInstance,
    keys: Sequence[str] = KEYS,
    *,
    ok: bool = True,
) -> dg.ExecuteInProcessResult:
    tags = range_tags(keys) if keys else {}
    result = dg.materialize([asset], resources=resources, instance=instance, tags=tags, raise_on_error=False)
    assert result.success is ok
    return result


def pages(result: dg.ExecuteInProcessResult) -> dict[str | None, dict[str, Any]]:
    """Partition -> metadata of its materialization."""
    found = {}
    for event in result.get_asset_materialization_events():
        metadata = event.materialization.metadata
        found[event.partition] = {name: value.value for name, value in metadata.items()}
    return found


def checks(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    return {found.check_name: found for found in result.get_asset_check_evaluations()}


def months(**changes: Any) -> MlTask:
    return a_task(partitions=MONTHS, **changes)


@pytest.mark.usefixtures("events")
class TestPrediction:
    def test_one_run_scores_all_of_its_partitions_in_one_call(
        self, resources: dict[str, Any], score_partitions: FakeScorePartitions
    ):
        with dg.DagsterInstance.ephemeral() as instance:
            result = run(build_prediction_asset(months()), resources, instance)
        (call,) = score_partitions.calls
        assert [(found.key, found.column, found.value) for found in call["partitions"]] == [
            (key, "at_month", key) for key in KEYS
        ]
        assert (call["run_id"], call["batch_size"]) == (result.run_id, 64)

    @pytest.mark.promise("O63")
    def test_a_backfill_is_one_run_unless_the_task_limits_its_partitions(self):
        limited = TimePartitions(by="month", column="at", start="2013-01-01", max_partitions_per_run=1)
        policies = [build_prediction_asset(a_task(partitions=found)).backfill_policy for found in (MONTHS, limited)]
        assert policies == [dg.BackfillPolicy.single_run(), dg.BackfillPolicy.multi_run(1)]

    @pytest.mark.promise("O72")
    def test_each_partition_shows_its_own_rows_and_versions(
        self, resources: dict[str, Any], score_partitions: FakeScorePartitions
    ):
        with dg.DagsterInstance.ephemeral() as instance:
            shown = pages(run(build_prediction_asset(months()), resources, instance))
        assert shown.keys() == set(KEYS)
        assert [shown[key]["sparktorch/data_version"] for key in KEYS] == [f"v {key}" for key in KEYS]
        assert {(page["dagster/partition_row_count"], page["dagster/row_count"]) for page in shown.values()} == {
            (8, 24)
        }
        assert all(page["sparktorch/made_from"].keys() >= {"dagster/code_version", "events"} for page in shown.values())

    def test_the_run_of_one_partition_has_that_partitions_data_version(
        self, resources: dict[str, Any], score_partitions: FakeScorePartitions
    ):
        with dg.DagsterInstance.ephemeral() as instance:
            (event,) = run(
                build_prediction_asset(months()), resources, instance, [MARCH]
            ).get_asset_materialization_events()
        assert event.materialization.tags is not None
        assert event.materialization.tags["dagster/data_version"] == f"v {MARCH}"

    def test_the_derived_column_comes_from_the_column_that_divides(
        self, resources: dict[str, Any], score_partitions: FakeScorePartitions
    ):
        with dg.DagsterInstance.ephemeral() as instance:
            shown = pages(run(build_prediction_asset(months()), resources, instance, [MARCH]))
        deps = shown[MARCH]["dagster/column_lineage"].deps_by_column["at_month"]
        assert [(dep.asset_key, dep.column_name) for dep in deps] == [(EVENTS, "at")]

    @pytest.mark.promise("O73")
    def test_a_check_has_one_result_that_counts_the_partitions(
        self, resources: dict[str, Any], score_partitions: FakeScorePartitions
    ):
        with dg.DagsterInstance.ephemeral() as instance:
            found = checks(run(build_prediction_asset(months()), resources, instance))["no_row_lost"]
        assert (found.passed, found.metadata["partitions"].value, found.metadata["failed_partitions"].value) == (
            True,
            3,
            0,
        )
        assert all(f"| {key} | passed |" in found.metadata["by_partition"].value for key in KEYS)

    @pytest.mark.promise("O64")
    def test_refused_partitions_alone_are_failed_and_the_others_published(
        self, resources: dict[str, Any], score_partitions: FakeScorePartitions
    ):
        reason = FailureReason(reason="encode: null", rows=3)
        score_partitions.refused = {FEBRUARY: TooManyFailedRowsError("3 of 4 rows failed", reasons=[reason])}
        with dg.DagsterInstance.ephemeral() as instance:
            result = run(build_prediction_asset(months()), resources, instance, ok=False)
            shown, found = pages(result), checks(result)["failed_share"]
            definition = dg.MonthlyPartitionsDefinition(start_date="2013-01-01", end_date="2013-07-01")
            status = get_and_update_asset_status_cache_value(instance, PREDICTIONS, definition)
            assert status is not None
            failed = status.deserialize_failed_partition_subsets(definition).get_partition_keys()
            messages = [entry.user_message for entry in instance.all_logs(result.run_id)]
        assert shown.keys() == {JANUARY, MARCH}
        assert shown[MARCH]["sparktorch/data_version"] == f"v {MARCH}"
        assert shown[MARCH]["sparktorch/made_from"]
        assert list(failed) == [FEBRUARY]
        assert not found.passed
        assert found.description is not None
        assert found.description.startswith(f"Failed in {FEBRUARY}. {FEBRUARY}: 3 of 4 rows failed")
        assert any(
            f"{FEBRUARY} was refused: 3 of 4 rows failed" in message
            and f"""dg launch --assets 'key:"predictions/sample"' --partition '{FEBRUARY}'""" in message
            for message in messages
        )

    def test_the_log_has_the_command_that_publishes_what_a_check_refused(
        self, resources: dict[str, Any], score_partitions: FakeScorePartitions
    ):
        """Trying again would be refused again, for as long as nothing has changed."""
        outcomes = [AuditOutcome(check="min_rows", problem="8 rows are few"), AuditOutcome(check="null_share")]
        score_partitions.refused = {FEBRUARY: AuditFailedError("1 of 2 checks failed", outcomes=outcomes)}
        asset = build_prediction_asset(months(audit=AuditPolicy(min_rows=9, max_null_share=0.5)))
        with dg.DagsterInstance.ephemeral() as instance:
            result = run(asset, resources, instance, ok=False)
            messages = [entry.user_message for entry in instance.all_logs(result.run_id)]
        command = next(
            line.removeprefix("To publish it all the same: ")
            for message in messages
            for line in message.splitlines()
            if line.startswith("To publish it all the same: ")
        )
        *launch, config = shlex.split(command)
        assert launch[-3:] == ["--partition", FEBRUARY, "--config-json"]
        assert json.loads(config) == {"ops": {"predict_sample": {"config": {"publish_despite": ["min_rows"]}}}}

    def test_published_partitions_of_a_failed_run_are_no_staler_than_others(
        self, resources: dict[str, Any], score_partitions: FakeScorePartitions
    ):
        """They record the same as if nothing had been refused."""
        asset = build_prediction_asset(months())
        with dg.DagsterInstance.ephemeral() as instance:
            whole = pages(run(asset, resources, instance))
            score_partitions.refused = {FEBRUARY: TooManyFailedRowsError("no")}
            part = pages(run(asset, resources, instance, ok=False))
        for key in (JANUARY, MARCH):
            assert part[key].keys() == whole[key].keys()
            assert part[key]["sparktorch/made_from"] == whole[key]["sparktorch/made_from"]

    @pytest.mark.promise("O69")
    def test_a_run_without_a_partition_says_how_to_choose_one(
        self, resources: dict[str, Any], score_partitions: FakeScorePartitions
    ):
        asset = build_prediction_asset(months())
        with pytest.raises(TaskError, match=r"'predictions/sample' is divided.*names none.*--partition-range"):
            dg.materialize([asset], resources=resources)
        assert not score_partitions.calls

    def test_a_view_cannot_be_scored_by_partitions(self, resources: dict[str, Any]):
        task = months(input="orders")
        with pytest.raises(TableError, match="no table at .*cannot be scored by partitions: leave `partitions` out"):
            dg.materialize([build_prediction_asset(task)], resources=resources, tags=range_tags(KEYS))

    def test_what_else_goes_wrong_passes_through(
        self, resources: dict[str, Any], score_partitions: FakeScorePartitions
    ):
        score_partitions.refused = {key: TableError("broken") for key in KEYS}
        with pytest.raises(PartitionsRefusedError):
            dg.materialize([build_prediction_asset(months())], resources=resources, tags=range_tags(KEYS))

    def test_a_task_without_partitions_records_what_it_is_made_from(
        self, resources: dict[str, Any], score: FakeScoreTable
    ):
        """Its input's partitions: for these, Dagster records only that one was materialized."""
        assets = [build_input_asset(a_table()), build_prediction_asset(a_task())]
        with dg.DagsterInstance.ephemeral() as instance:
            for version in ("1", "2"):
                event = dg.AssetMaterialization(
                    "events", partition=MARCH, metadata={"sparktorch/data_version": version}
                )
                instance.report_runless_asset_event(event)
                result = dg.materialize(assets, selection=[PREDICTIONS], resources=resources, instance=instance)
                assert pages(result)[None]["sparktorch/made_from"]["events"] == version


class TestInput:
    @pytest.mark.promise("O76")
    def test_a_run_over_some_partitions_reads_the_whole_table_and_reports_these(
        self, resources: dict[str, Any], read: list[InputTable]
    ):
        with dg.DagsterInstance.ephemeral() as instance:
            shown = pages(run(build_input_asset(a_table()), resources, instance, [JANUARY, FEBRUARY]))
        assert len(read) == 1
        assert {key: page["dagster/partition_row_count"] for key, page in shown.items()} == {JANUARY: 2, FEBRUARY: 1}
        assert {page["dagster/row_count"] for page in shown.values()} == {6}

    @pytest.mark.promise("O66")
    def test_rows_outside_all_partitions_are_counted_and_told(self, resources: dict[str, Any], read: list[InputTable]):
        """December comes after the end, and a null is no time."""
        with dg.DagsterInstance.ephemeral() as instance:
            result = run(build_input_asset(a_table()), resources, instance)
            messages = [entry.user_message for entry in instance.all_logs(result.run_id)]
        assert {page["rows_outside_partitions"] for page in pages(result).values()} == {2}
        assert any("2 rows are in no partition" in message for message in messages)

    def test_a_run_without_a_partition_reads_nothing(self, resources: dict[str, Any], read: list[InputTable]):
        with pytest.raises(TaskError, match="'events' is divided into partitions, and this run names none"):
            dg.materialize([build_input_asset(a_table())], resources=resources)
        assert not read

    def test_rows_are_divided_by_listed_values(self, resources: dict[str, Any], read: list[InputTable]):
        table = a_table(partitions=StaticPartitions(column="place", values=["EWR", "JFK"]))
        with dg.DagsterInstance.ephemeral() as instance:
            shown = pages(run(build_input_asset(table), resources, instance, ["EWR", "JFK"]))
        assert {key: page["dagster/partition_row_count"] for key, page in shown.items()} == {"EWR": 4, "JFK": 1}
        assert {page["rows_outside_partitions"] for page in shown.values()} == {1}

    @pytest.mark.promise("O70")
    def test_values_of_dynamic_partitions_are_registered_once(self, resources: dict[str, Any], read: list[InputTable]):
        asset = build_input_asset(a_table(partitions=DynamicPartitions(column="place")))
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions("events.place", ["gone"])
            first = pages(run(asset, resources, instance, []))[None]
            second = pages(run(asset, resources, instance, []))[None]
            assert instance.get_dynamic_partitions("events.place") == ["gone", "EWR", "JFK"]
        assert (first["new_partitions"], second["new_partitions"]) == (2, 0)
        assert (first["partitions_without_rows"], first["rows_outside_partitions"]) == (1, 1)

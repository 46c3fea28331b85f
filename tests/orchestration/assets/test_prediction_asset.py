"""The prediction asset: what it hands to score_table, what it shows, and checks that can fail."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from orchestration_fakes import FakeScoreTable, a_task

from sparktorch_assets.errors import FailureReason, TableError, TooManyFailedRowsError
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.log.commit import commit_parts
from sparktorch_assets.lake.parts.writer import PartWriter
from sparktorch_assets.lake.table import Table
from sparktorch_assets.orchestration.assets.factory import build_prediction_assets
from sparktorch_assets.orchestration.assets.prediction import build_prediction_asset
from sparktorch_assets.orchestration.commands.summary import time_lines
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import BatchPolicy, SlotPolicy

KEY = dg.AssetKey(["predictions", "sample"])


def run(resources: dict[str, Any], task: Any = None, *, ok: bool = True) -> dg.ExecuteInProcessResult:
    result = dg.materialize([build_prediction_asset(task or a_task())], resources=resources, raise_on_error=ok)
    assert result.success is ok
    return result


def shown(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node("predict_sample")
    return dict(event.metadata)


def test_score_table_gets_tables_of_the_lake_and_the_resources_settings(
    project: Path, resources: dict[str, Any], score: FakeScoreTable
):
    result = run(resources)
    (call,) = score.calls
    assert call["input_table"] == f"{project}/data/lake/events"
    assert call["output_table"] == f"{project}/data/lake/predictions/sample"
    assert call["batch_size"] == 64
    assert call["slots"] == SlotPolicy(models_per_gpu=3)
    assert call["run_id"] == result.run_id
    assert call["model_loader"].models_root == project / "data" / "models"
    with pytest.raises(AssertionError, match="session was started"):
        call["spark_session"]()


def test_a_tasks_own_batch_policy_goes_before_the_resources(resources: dict[str, Any], score: FakeScoreTable):
    run(resources, a_task(batch=BatchPolicy(max_tokens=4096)))
    assert score.calls[0]["batch_size"] is None


@pytest.mark.promise("M34", "M39", "M49")
def test_what_was_learnt_about_batches_and_precision_is_shown(resources: dict[str, Any], score: FakeScoreTable):
    score.tally.batch_sizes = {"512": 3, "7": 1}
    score.tally.splits = 1
    score.tally.compared(0.99, 0.02)
    score.tally.truncated = 4
    values = {name: value.value for name, value in shown(run(resources)).items()}
    assert "| 512 | 3 |" in values["batch_sizes"]
    assert values["out_of_memory_splits"] == 1
    assert values["truncated_rows"] == 4
    assert (values["agreement_with_fp32"], values["confidence_difference_to_fp32"]) == (0.99, 0.02)


def test_the_message_counts_rows_that_the_model_was_given(resources: dict[str, Any], score: FakeScoreTable):
    """Not those of the files that were read: a filter may leave few of them."""
    score.tally.filtered = 30_000
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([build_prediction_asset(a_task())], resources=resources, instance=instance)
        messages = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert any(
        "3 scored now" in message and "30,000 rows of the input left out by `where`" in message for message in messages
    )


@pytest.mark.promise("O97")
def test_where_the_time_went_is_shown_and_logged(resources: dict[str, Any], score: FakeScoreTable):
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([build_prediction_asset(a_task())], resources=resources, instance=instance)
        messages = [entry.user_message for entry in instance.all_logs(result.run_id)]
    said = shown(result)["where_time_went"].value
    assert str(said).startswith("2.5 s: 2.0 s scoring")
    assert said in messages
    assert time_lines([result]) == [f"predictions/sample: {said}"]
    score.nothing_changed = True
    assert "where_time_went" not in shown(run(resources))


def test_a_chained_task_reads_the_other_tasks_table(resources: dict[str, Any], score: FakeScoreTable):
    asset = build_prediction_asset(a_task(input="predictions/other"))
    assert asset.asset_deps[KEY] == {dg.AssetKey(["predictions", "other"]), dg.AssetKey(["models", "sample"])}
    run(resources, a_task(input="predictions/other"))
    assert score.calls[0]["input_table"].endswith("/data/lake/predictions/other")


class ViewSession:
    """A Spark session that knows one view."""

    catalog = property(lambda self: self)

    def tableExists(self, name: str) -> bool:
        return name == "orders"

    def table(self, name: str) -> str:
        return f"the rows of {name}"


class ViewSpark(dg.ConfigurableResource):
    @property
    def spark_session(self) -> Any:
        return ViewSession()


def test_a_view_without_files_is_scored_by_spark(
    resources: dict[str, Any], score: FakeScoreTable, monkeypatch: pytest.MonkeyPatch
):
    calls = []

    def score_dataframe(session: Any, dataframe: Any, task: Any, **given: Any) -> Any:
        calls.append(dataframe)
        return replace(score(session, "", task, on_progress=lambda _: None, **given), path="spark_ml_predict")

    monkeypatch.setattr("sparktorch_assets.spark.score.dataframe.score_dataframe", score_dataframe)
    values = shown(run(resources | {"spark": ViewSpark()}, a_task(input="orders")))
    assert calls == ["the rows of orders"]
    assert values["path"].value == "spark_ml_predict"


@pytest.mark.promise("T75")
def test_no_view_replaces_predictions_that_were_made_from_files(
    resources: dict[str, Any], score: FakeScoreTable, project: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sparktorch_assets.spark.score.dataframe.score_dataframe", None)  # never called
    table = f"{project}/data/lake/predictions/sample"
    rows = pa.RecordBatch.from_pydict({"id": [1, 2]})
    with PartWriter(Folder(table), "0" * 32, rows.schema) as writer:
        Folder(table).create()
        writer.write(rows)
        part, _ = writer.finish(Tally(rows=2, predicted=2))
    version = commit_parts(table, rows.schema, add=[part], remove=[], metadata={}, read_version=None, description="")
    with pytest.raises(
        TableError, match="made from files.*no table at .*orders any more.*view or table 'orders'.*delete"
    ):
        dg.materialize([build_prediction_asset(a_task(input="orders"))], resources=resources | {"spark": ViewSpark()})
    assert Table(table).version == version


def test_an_input_that_is_nowhere_is_named(resources: dict[str, Any], score: FakeScoreTable, project: Path):
    write_deltalake(f"{project}/data/lake/missed", pa.table({"a": [1]}))
    with pytest.raises(
        TableError,
        match=r"no table at .*missing, and .* no view or table 'missing'; materialize 'missing' first, or correct "
        r"its name; did you mean 'missed'\? Known: missed",
    ):
        dg.materialize([build_prediction_asset(a_task(input="missing"))], resources=resources | {"spark": ViewSpark()})


def test_metadata_holds_everything_a_reader_wants(resources: dict[str, Any], score: FakeScoreTable, project: Path):
    metadata = shown(run(resources))
    values = {name: value.value for name, value in metadata.items()}
    assert values["dagster/row_count"] == 8
    assert values["dagster/uri"] == f"{project}/data/lake/predictions/sample"
    assert values["dagster/table_name"] == "predictions/sample"
    assert [column.name for column in values["dagster/column_schema"].columns] == [
        "event_id",
        "predicted_class",
        "confidence",
        "prediction_error",
    ]
    expected = {
        "failed_rows": 1,
        "dropped_rows": 1,
        "filtered_rows": 1,
        "rows_scored_this_run": 4,
        "class_shares": {"no": 5 / 7, "yes": 2 / 7},
        "confidence_mean": pytest.approx(0.8),
        "seconds_total": 2.5,
        "rows_per_second": 2.0,
        "device": "cpu",
        "slots": 2,
        "model_digest": "d" * 64,
        "delta_version": 3,
        "balance": 1.1,
        "last_scored": 1e9,
        "last_scored_rows": 4,
        "last_scored_by": "r",
    }
    assert {name: values[name] for name in expected} == expected
    assert sum(values["confidence_bins"]) == 7
    assert values["confidence_histogram"].startswith(
        "![Histogram of confidence from 0 to 1, mean 0.8](data:image/svg+xml,"
    )
    assert values["classes"].startswith("![Rows per class: no 5 · 71.4% first](data:image/svg+xml,")
    assert "encode: null" in values["failure_reasons"]
    assert values["preview"].count("\n") == 2 - 1 + 8


@pytest.mark.promise("O156")
def test_what_can_be_plotted_is_a_number(resources: dict[str, Any], score: FakeScoreTable):
    score.tally.confusion = {'["no","no"]': 5, '["yes","no"]': 1, '["yes","yes"]': 1}
    score.tally.calibration_rows, score.tally.calibration_right = {"16": 7}, {"16": 6}
    score.tally.calibration_confidence = {"16": 5.6}
    metadata = shown(run(resources, a_task(truth="a")))
    assert metadata["accuracy"].value == 6 / 7
    assert metadata["expected_calibration_error"].value == pytest.approx(6 / 7 - 0.8)
    for name in ("accuracy", "expected_calibration_error", "confidence_mean", "rows_per_second"):
        assert isinstance(metadata[name], dg.FloatMetadataValue)
    for name in ("reliability", "confusion_matrix", "biggest_confusions", "classes", "confidence_histogram"):
        assert isinstance(metadata[name], dg.MarkdownMetadataValue)
    assert metadata["confidence_bins"].value == score.tally.confidence_histogram


def test_a_refresh_with_nothing_to_do_keeps_the_figures_of_the_last_one(
    resources: dict[str, Any], score: FakeScoreTable
):
    """Two materializations: the page goes on telling when, how fast and on what rows were scored."""
    figures = ("last_scored", "last_scored_rows", "last_scored_by", "rows_per_second", "slots", "balance", "device")
    first = shown(run(resources))
    score.nothing_changed = True
    second = shown(run(resources))
    assert {name: second[name] for name in figures} == {name: first[name] for name in figures}
    assert "| score | 2.00 |" in str(second["seconds_by_phase"].value)
    assert (second["rows_scored_this_run"].value, second["changed"].value) == (0, False)


def test_a_table_of_an_older_version_shows_no_zeros(resources: dict[str, Any], score: FakeScoreTable):
    score.nothing_changed, score.scoring = True, None
    assert not {"rows_per_second", "slots", "seconds_by_phase", "balance", "last_scored"} & shown(run(resources)).keys()


def test_added_columns_come_from_the_features_and_kept_ones_from_themselves(
    resources: dict[str, Any], score: FakeScoreTable
):
    lineage = shown(run(resources))["dagster/column_lineage"].value.deps_by_column
    found = {
        column: [(dep.asset_key.to_user_string(), dep.column_name) for dep in deps] for column, deps in lineage.items()
    }
    features = [("events", "a"), ("events", "b")]
    assert found == {
        "event_id": [("events", "event_id")],
        "predicted_class": features,
        "confidence": features,
        "prediction_error": features,
    }


def test_no_row_is_shown_where_the_task_wants_none(resources: dict[str, Any], score: FakeScoreTable):
    assert "preview" not in shown(run(resources, a_task(preview_rows=0)))


def test_a_run_without_rows_still_reports(resources: dict[str, Any], score: FakeScoreTable):
    score.tally, score.rows_in = Tally(), 0
    metadata = shown(run(resources, ok=True))
    assert metadata["class_shares"].value == {}
    assert "confidence_mean" not in metadata


def test_the_data_version_is_the_reports(resources: dict[str, Any], score: FakeScoreTable):
    (event,) = run(resources).asset_materializations_for_node("predict_sample")
    assert event.tags["dagster/data_version"] == "v1"


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}


ALL_PASS = {"no_row_lost": True, "confidence_in_range": True, "classes_within_labels": True, "failed_share": True}


def lose_a_row(score: FakeScoreTable) -> None:
    score.rows_in = 11


def lose_a_row_in_the_table(score: FakeScoreTable) -> None:
    score.tally.failed, score.tally.dropped = 0, 2


def leave_the_range(score: FakeScoreTable) -> None:
    score.tally.confidence_histogram[-1] -= 1


def predict_an_unknown_class(score: FakeScoreTable) -> None:
    score.tally.classes = {"no": 5, "maybe": 2}


def predict_no_class(score: FakeScoreTable) -> None:
    score.tally.classes = {"no": 5}


@pytest.mark.parametrize(
    ("damage", "check"),
    [
        (lose_a_row, "no_row_lost"),
        (lose_a_row_in_the_table, "no_row_lost"),
        (leave_the_range, "confidence_in_range"),
        (predict_an_unknown_class, "classes_within_labels"),
        (predict_no_class, "classes_within_labels"),
    ],
)
def test_each_check_fails_alone_on_its_own_damage(
    resources: dict[str, Any], score: FakeScoreTable, damage: Callable[[FakeScoreTable], None], check: str
):
    assert checks(run(resources)) == ALL_PASS
    damage(score)
    assert checks(run(resources)) == {**ALL_PASS, check: False}


def test_too_many_failed_rows_in_the_table_fail_the_blocking_check_and_stop_what_is_downstream(
    resources: dict[str, Any], score: FakeScoreTable
):
    @dg.asset(deps=[KEY])
    def downstream() -> None:
        raise AssertionError("ran on a table with too many failed rows")

    result = dg.materialize(
        [build_prediction_asset(a_task(max_failed_share=0.1)), downstream], resources=resources, raise_on_error=False
    )
    assert checks(result) == {**ALL_PASS, "failed_share": False}
    (evaluation,) = [found for found in result.get_asset_check_evaluations() if not found.passed]
    assert evaluation.blocking
    assert "encode: null" in str(evaluation.description)
    assert "failed_rows('" in str(evaluation.description)
    assert "Nothing was committed" not in str(evaluation.description)
    assert not result.asset_materializations_for_node("downstream")


@pytest.mark.promise("O42")
def test_a_refused_run_fails_the_check_with_the_reason_and_materializes_nothing(
    resources: dict[str, Any], score: FakeScoreTable
):
    reason = FailureReason(
        reason="hook: KeyError", rows=5, message="hook: KeyError: 'a|b'", rows_shown=("id=1", "id=2")
    )
    score.error = TooManyFailedRowsError("half of the rows failed", reasons=[reason])
    result = run(resources, ok=False)
    (evaluation,) = result.get_asset_check_evaluations()
    assert (evaluation.check_name, evaluation.passed) == ("failed_share", False)
    assert evaluation.description == "half of the rows failed"
    shown = str(evaluation.metadata["reasons"].value)
    assert "| hook: KeyError | 5 | hook: KeyError: 'a&#124;b' | id=1; id=2 |" in shown
    assert not result.asset_materializations_for_node("predict_sample")


def test_two_tasks_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two tasks are named 'sample'"):
        build_prediction_assets([a_task(), a_task(input="other")])

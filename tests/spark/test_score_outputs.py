"""Tables of every kind of output: exact, incremental, with statistics that follow the table; by Spark, and in Dagster."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from jobs_here import JobsHere
from lone_files import lone_file

from sparktorch_assets.lake.table import Table
from sparktorch_assets.lake.table_tally import table_tally
from sparktorch_assets.orchestration.assets.prediction import build_prediction_asset
from sparktorch_assets.orchestration.resources import LakeResource, ModelLoaderResource
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.ml_predict import spark_ml_predict
from sparktorch_assets.spark.score.dataframe import score_dataframe
from sparktorch_assets.spark.score.failures.failed_rows import failed_rows
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.tasks import (
    ClassificationOutput,
    ColumnsOutput,
    EmbeddingOutput,
    GenerationOutput,
    MlTask,
    ModelSpec,
    MultilabelOutput,
    NumericFeature,
    RegressionOutput,
    RowFilter,
    TextFeature,
)

OUTPUTS = {
    "classification": (ClassificationOutput(scores=True, top_k=2, threshold=0.9, below="unsure"), ["a", "b"]),
    "regression": (RegressionOutput(names=["one", "two"], scale=2.0, minimum=-100.0, maximum=1e6), ()),
    "values": (RegressionOutput(length=2), ()),
    "multilabel": (MultilabelOutput(), ["a", "b"]),
    "embedding": (EmbeddingOutput(length=2, normalize=True), ()),
    "generation": (GenerationOutput(), ()),
    "columns": (ColumnsOutput(columns={"both": "list<double>", "grid": "list<list<float>>"}), ()),
}
SHOWN = {
    "classification": ["classes", "confidence_histogram", "class_shares"],
    "regression": ["predictions", "predicted_one_mean", "number_means", "number_quantiles"],
    "values": ["predictions", "number_means"],
    "multilabel": ["labels_predicted", "labels_per_row", "rows_without_label", "label_shares"],
    "embedding": ["dimensions", "norms", "norm_means"],
    "generation": ["finish_reasons", "generated_tokens", "empty_texts", "finish_reason_shares", "token_means"],
    "columns": [],
}


class Here(dg.ConfigurableResource):
    @property
    def spark_session(self) -> Any:
        return JobsHere()


def task_of(name):
    output, labels = OUTPUTS[name]
    writes = name == "generation"
    return MlTask(
        name="t",
        input="numbers",
        model=ModelSpec(factory="score_nets:echo" if writes else "score_nets:pairs"),
        features=[TextFeature(column="text") if writes else NumericFeature(columns=["x"])],
        labels=labels,
        output=output,
        keep_columns=["id"],
        max_failed_share=1.0,
    )


def rows_of(table):
    found = DeltaTable(str(table)).to_pyarrow_table().to_pylist()
    return sorted(found, key=lambda row: row["id"])


def write(folder: Path, name: str, ids):
    folder.mkdir(exist_ok=True)
    x = np.array(ids, dtype=float)
    x = [None if number == 3 else number for number in x.tolist()]
    texts = [None if number is None else f"{number:g}" for number in x]
    rows = pa.table({"id": ids, "x": pa.array(x, pa.float64()), "text": pa.array(texts, pa.string())})
    pq.write_table(rows, folder / lone_file(name))


@pytest.mark.promise("M107")
@pytest.mark.parametrize("name", sorted(OUTPUTS))
def test_a_table_of_each_kind_follows_its_input(tmp_path, name):
    """A new file is scored alone; a file that goes takes its rows and its share of the statistics along."""
    source, table, task = tmp_path / "in", tmp_path / "out", task_of(name)

    def refresh():
        return score_table(
            JobsHere(), str(source), task, output_table=str(table), model_loader=ModelLoader(tmp_path, device="cpu")
        )

    write(source, "one", list(range(8)))
    assert refresh().shards_new == 1
    write(source, "two", list(range(100, 140)))
    report = refresh()
    assert (report.shards_new, report.shards_unchanged, report.rows_table) == (1, 1, 48)
    assert refresh().changed is False
    fresh = tmp_path / "fresh"
    whole = score_table(
        JobsHere(), str(source), task, output_table=str(fresh), model_loader=ModelLoader(tmp_path, device="cpu")
    )
    assert rows_of(table) == rows_of(fresh)
    for mine, theirs in ((report.tally, whole.tally), (table_tally(Table(str(table))), whole.tally)):
        assert (mine.classes, mine.marks) == (theirs.classes, theirs.marks)
        assert {name: (found.count, found.buckets) for name, found in mine.numbers.items()} == {
            name: (found.count, found.buckets) for name, found in theirs.numbers.items()
        }
    assert all(outcome.passed for outcome in task.output.checks(report.tally, task.labels))
    failed = failed_rows(str(table)).to_pylist()
    assert [(row["id"], row["prediction_error"].split(": ")[1]) for row in failed] == [(3, "Null")]
    (source / lone_file("two")).unlink()
    left = refresh()
    assert left.rows_table == 8
    shutil.rmtree(fresh)
    again = score_table(
        JobsHere(), str(source), task, output_table=str(fresh), model_loader=ModelLoader(tmp_path, device="cpu")
    )
    assert left.tally.classes == again.tally.classes
    assert left.tally.marks == again.tally.marks
    assert {name: (found.buckets, found.minimum, found.maximum) for name, found in left.tally.numbers.items()} == {
        name: (found.buckets, found.minimum, found.maximum) for name, found in again.tally.numbers.items()
    }
    assert task.output.page(left.tally) == task.output.page(again.tally)


@pytest.mark.promise("M107")
@pytest.mark.parametrize("name", sorted(OUTPUTS))
def test_statistics_go_with_the_last_predicted_row(tmp_path, name):
    """What is left are parts whose rows all failed: the page is that of a table that never had others."""
    source, task, loader = tmp_path / "in", task_of(name), ModelLoader(tmp_path, device="cpu")

    def refresh(table):
        return score_table(JobsHere(), str(source), task, output_table=str(tmp_path / table), model_loader=loader).tally

    write(source, "good", list(range(4, 8)))
    write(source, "failed", [3])
    write(source, "failed_too", [3, 3])
    refresh("out")
    (source / lone_file("good")).unlink()
    left, fresh = refresh("out"), refresh("fresh")
    assert (left.predicted, left.failed) == (0, 3)
    assert (left.numbers, left.classes, left.marks) == (fresh.numbers, fresh.classes, fresh.marks)
    assert task.output.page(left) == task.output.page(fresh)
    assert task.output.figures(left) == task.output.figures(fresh)


@pytest.mark.parametrize("name", sorted(OUTPUTS))
def test_spark_gives_the_same_rows(spark, tmp_path, name):
    """As a lazy DataFrame, and as a table that Spark writes."""
    spark.sparkContext.addPyFile(str(Path(__file__).with_name("score_nets.py")))
    source, task, loader = tmp_path / "in", task_of(name), ModelLoader(tmp_path, device="cpu")
    write(source, "one", list(range(8)))
    score_table(JobsHere(), str(source), task, output_table=str(tmp_path / "files"), model_loader=loader)
    expected = rows_of(tmp_path / "files")
    dataframe = spark.read.parquet(str(source))
    shown = spark_ml_predict(spark, dataframe, task, model_loader=loader)
    assert sorted((row.asDict(recursive=True) for row in shown.collect()), key=lambda row: row["id"]) == expected
    report = score_dataframe(spark, dataframe, task, output_table=str(tmp_path / "view"), model_loader=loader)
    assert rows_of(tmp_path / "view") == expected
    assert (report.tally.predicted, report.tally.failed) == (7, 1)
    assert all(outcome.passed for outcome in task.output.checks(report.tally, task.labels))


@pytest.mark.parametrize("name", sorted(OUTPUTS))
def test_the_assets_page_shows_what_an_output_consists_of(tmp_path, name):
    (tmp_path / "data" / "lake").mkdir(parents=True)
    write(tmp_path / "data" / "lake" / "numbers", "one", list(range(8)))
    resources = {
        "spark": Here(),
        "model_loader": ModelLoaderResource(project_root=str(tmp_path), device="cpu"),
        "lake": LakeResource(project_root=str(tmp_path)),
    }
    result = dg.materialize([build_prediction_asset(task_of(name))], resources=resources)
    (materialization,) = result.asset_materializations_for_node("predict_t")
    assert [entry for entry in SHOWN[name] if entry not in materialization.metadata] == []
    checks = {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}
    assert {spec.name for spec in OUTPUTS[name][0].check_specs} <= checks.keys()
    assert all(checks.values())


@pytest.mark.promise("M110")
def test_conditions_on_new_columns(tmp_path):
    """A task over a regression's table."""
    write(tmp_path / "in", "one", list(range(8)))
    loader = ModelLoader(tmp_path, device="cpu")
    score_table(
        JobsHere(), str(tmp_path / "in"), task_of("regression"), output_table=str(tmp_path / "out"), model_loader=loader
    )
    chained = dataclasses.replace(
        task_of("classification"),
        features=[NumericFeature(columns=["predicted_one"])],
        where=[RowFilter(column="predicted_one", op=">=", value=10.0)],
    )
    report = score_table(
        JobsHere(), str(tmp_path / "out"), chained, output_table=str(tmp_path / "next"), model_loader=loader
    )
    assert (report.tally.filtered, report.tally.predicted) == (5, 3)

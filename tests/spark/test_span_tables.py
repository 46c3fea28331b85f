"""Tables of spans and boxes: their types in Delta and Spark, their statistics, their pages, and tasks over them."""

import io
from dataclasses import replace
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
from PIL import Image

from sparktorch_assets.errors import InputSchemaError
from sparktorch_assets.lake.table import Table
from sparktorch_assets.lake.table_tally import table_tally
from sparktorch_assets.orchestration.assets.prediction import build_prediction_asset
from sparktorch_assets.orchestration.resources import LakeResource, ModelLoaderResource
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.ml_predict import spark_ml_predict
from sparktorch_assets.spark.score.dataframe import score_dataframe
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.tasks import (
    DetectionOutput,
    Hooks,
    ImageFeature,
    MlTask,
    ModelSpec,
    RowFilter,
    TextFeature,
    TokenClassificationOutput,
)

SPANS = "array<struct<label:string,score:float,start:int,end:int,text:string>>"
BOXES = "array<struct<label:string,score:float,x_min:float,y_min:float,x_max:float,y_max:float>>"
TYPES = {"spans": SPANS, "boxes": BOXES}
TASKS = {
    "spans": MlTask(
        name="t",
        input="rows",
        model=ModelSpec(factory="score_nets:tagger"),
        features=[TextFeature(column="text")],
        labels=["O", "B-A", "I-A"],
        output=TokenClassificationOutput(aggregation="simple"),
        max_failed_share=1.0,
    ),
    "boxes": MlTask(
        name="t",
        input="rows",
        model=ModelSpec(factory="score_nets:finder"),
        features=[ImageFeature(column="file", height=8, width=8)],
        labels=["a", "b"],
        output=DetectionOutput(),
        keep_columns=["id", "text"],
        max_failed_share=1.0,
    ),
}
PAGES = {
    "spans": ["spans", "rows_without_span", "span_numbers", "label_shares"],
    "boxes": ["boxes", "rows_without_box", "box_numbers", "label_shares"],
}


class Here(dg.ConfigurableResource):
    @property
    def spark_session(self) -> Any:
        return JobsHere()


def png(size):
    file = io.BytesIO()
    Image.fromarray(np.full((size, 2 * size, 3), 128, dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def write(folder: Path, name: str, ids):
    folder.mkdir(exist_ok=True, parents=True)
    texts = [None if number == 3 else "abc\U0001f600 "[: number % 6] for number in ids]
    files = [None if number == 3 else png(1 + number % 5) for number in ids]
    pq.write_table(pa.table({"id": ids, "text": texts, "file": files}), folder / lone_file(name))


def rows_of(table):
    return sorted(DeltaTable(str(table)).to_pyarrow_table().to_pylist(), key=lambda row: row["id"])


def score(source, table, task, root, **more):
    loader = ModelLoader(root, device="cpu")
    return score_table(JobsHere(), str(source), task, output_table=str(table), model_loader=loader, **more)


@pytest.mark.promise("M107", "M155")
@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_table_follows_its_input_with_its_statistics(tmp_path, name):
    source, table, fresh, task = tmp_path / "in", tmp_path / "out", tmp_path / "fresh", TASKS[name]
    write(source, "one", list(range(8)))
    score(source, table, task, tmp_path)
    write(source, "two", list(range(100, 140)))
    report = score(source, table, task, tmp_path)
    assert (report.shards_new, report.shards_unchanged, report.tally.failed) == (1, 1, 1)
    assert not score(source, table, task, tmp_path).changed
    whole = score(source, fresh, task, tmp_path)
    assert rows_of(table) == rows_of(fresh)
    for found in (report.tally, table_tally(Table(str(table)))):
        assert (found.classes, found.marks) == (whole.tally.classes, whole.tally.marks)
        assert found.numbers["score"].buckets == whole.tally.numbers["score"].buckets
    assert sum(whole.tally.classes.values()) == sum(len(row[name] or []) for row in rows_of(fresh)) > 0
    assert all(outcome.passed for outcome in task.output.checks(whole.tally, task.labels))
    (source / lone_file("two")).unlink()
    assert score(source, table, task, tmp_path).tally.numbers["score"].count < whole.tally.numbers["score"].count


@pytest.mark.promise("M154")
@pytest.mark.parametrize("name", sorted(TASKS))
def test_spark_gives_the_same_rows_and_types(spark, tmp_path, name):
    spark.sparkContext.addPyFile(str(Path(__file__).with_name("score_nets.py")))
    source, task, loader = tmp_path / "in", TASKS[name], ModelLoader(tmp_path, device="cpu")
    write(source, "one", list(range(8)))
    score(source, tmp_path / "files", task, tmp_path)
    expected = rows_of(tmp_path / "files")
    dataframe = spark.read.parquet(str(source))
    shown = spark_ml_predict(spark, dataframe, task, model_loader=loader)
    assert shown.schema[name].dataType.simpleString() == TYPES[name]
    assert sorted((row.asDict(recursive=True) for row in shown.collect()), key=lambda row: row["id"]) == expected
    score_dataframe(spark, dataframe, task, output_table=str(tmp_path / "view"), model_loader=loader)
    assert rows_of(tmp_path / "view") == expected
    stored = spark.read.parquet(*DeltaTable(str(tmp_path / "files")).file_uris())
    assert stored.schema[name].dataType.simpleString() == TYPES[name]
    labels = [row.label for row in stored.selectExpr(f"explode({name}) as one").select("one.label").collect()]
    assert sorted(labels) == sorted(one["label"] for row in expected for one in row[name] or [])


@pytest.mark.promise("M155")
@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_assets_page_and_its_checks(tmp_path, name):
    write(tmp_path / "data" / "lake" / "rows", "one", list(range(8)))
    resources = {
        "spark": Here(),
        "model_loader": ModelLoaderResource(project_root=str(tmp_path), device="cpu"),
        "lake": LakeResource(project_root=str(tmp_path)),
    }
    result = dg.materialize([build_prediction_asset(TASKS[name])], resources=resources)
    (materialization,) = result.asset_materializations_for_node("predict_t")
    assert [entry for entry in PAGES[name] if entry not in materialization.metadata] == []
    checks = {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}
    assert {spec.name for spec in TASKS[name].output.check_specs} <= checks.keys()
    assert all(checks.values())


@pytest.mark.promise("M110")
@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_task_over_the_table_keeps_the_column(tmp_path, name):
    write(tmp_path / "in", "one", list(range(8)))
    score(tmp_path / "in", tmp_path / "out", TASKS[name], tmp_path)
    chained = replace(
        TASKS["spans"],
        output_prefix="its_",
        keep_columns=["id", name],
        where=[RowFilter(column="id", op="!=", value=3)],
    )
    report = score(tmp_path / "out", tmp_path / "next", chained, tmp_path)
    assert (report.tally.filtered, report.tally.predicted) == (1, 7)
    before = {row["id"]: row[name] for row in rows_of(tmp_path / "out")}
    assert {row["id"]: row[name] for row in rows_of(tmp_path / "next")} == {
        number: found for number, found in before.items() if found is not None
    }
    with pytest.raises(InputSchemaError, match=f"column {name!r} has type list<.*which no condition can be tested on"):
        score(tmp_path / "out", tmp_path / "x", replace(chained, where=[RowFilter(column=name, value="a")]), tmp_path)


@pytest.mark.promise("M155")
@pytest.mark.parametrize("name", sorted(TASKS))
def test_what_hooks_make_of_entries_fails_the_checks(tmp_path, name):
    write(tmp_path / "in", "one", [4, 5, 10])
    task = replace(TASKS[name], hooks=Hooks(row_postprocessor=f"score_nets:spoil_{name}"))
    despite = [spec.name for spec in task.output.check_specs]
    report = score(tmp_path / "in", tmp_path / "out", task, tmp_path, publish_despite=despite)
    outcomes = {one.name: one for one in task.output.checks(report.tally, task.labels)}
    assert [name for name, outcome in outcomes.items() if outcome.passed] == []
    assert outcomes["labels_within_declared"].details == {"unknown labels": "other", "labels that are null": 3}
    assert report.tally.failed == 0

"""Structs, lists and maps of a DataFrame, with required parts under nulls as any left join makes them, on a real session."""

from pathlib import Path

import pytest
from deltalake import DeltaTable

from sparktorch_assets.errors import InputSchemaError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.ml_predict import spark_ml_predict
from sparktorch_assets.spark.score.dataframe import score_dataframe
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.tasks import Hooks, MlTask, ModelSpec, NumericFeature, SlotPolicy


def task(**more):
    return MlTask(
        name="echo",
        input="joined",
        model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
        features=[NumericFeature(columns=["x"])],
        labels=["no", "yes"],
        **more,
    )


@pytest.fixture
def joined(spark):
    """Five rows; every second one finds a partner, whose parts are all required."""
    left = spark.range(5).selectExpr("id", "id + 0.5D AS x")
    right = spark.range(0, 5, 2).selectExpr(
        "id",
        "struct(id AS n, named_struct('text', concat('t', id)) AS deep) AS one",
        "array(struct(id AS n), struct(id + 1 AS n)) AS many",
        "map(concat('k', id), struct(id AS n)) AS by_name",
        "array(map('k', id)) AS maps",
    )
    found = left.join(right, "id", "left")
    assert "nullable = false" in found.select("one").schema.treeString()
    return found


WANTED = {
    row: {
        "one": {"n": row, "deep": {"text": f"t{row}"}},
        "many": [{"n": row}, {"n": row + 1}],
        "by_name": {f"k{row}": {"n": row}},
        "maps": [{"k": row}],
    }
    if row % 2 == 0
    else dict.fromkeys(["one", "many", "by_name", "maps"])
    for row in range(5)
}


def plain(value):
    """Rows and lists of pairs as dicts."""
    if isinstance(value, list):
        pairs = bool(value) and isinstance(value[0], tuple) and not hasattr(value[0], "asDict")
        return {key: plain(item) for key, item in value} if pairs else [plain(item) for item in value]
    if hasattr(value, "asDict"):
        return plain(value.asDict())
    return {key: plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def read(rows):
    return {row["id"]: {name: plain(row[name]) for name in ("one", "many", "by_name", "maps")} for row in rows}


@pytest.mark.parametrize(
    "hooks", [Hooks(), Hooks(row_postprocessor="score_nets:new_struct")], ids=["no hook", "a hook that makes structs"]
)
def test_what_a_left_join_brings_comes_through(spark, joined, tmp_path, hooks):
    """From a DataFrame into a DataFrame and a table, and from files into a table."""
    options = {"model_loader": ModelLoader(tmp_path), "slots": SlotPolicy(device="cpu")}
    spark.sparkContext.addPyFile(str(Path(__file__).with_name("score_nets.py")))
    job = task(hooks=hooks)
    found = spark_ml_predict(spark, joined, job, **options)
    rows = found.collect()
    assert read(rows) == WANTED
    assert {row["prediction_error"] for row in rows} == {None}

    score_dataframe(spark, joined, job, output_table=str(tmp_path / "table"), **options)
    assert read(DeltaTable(str(tmp_path / "table")).to_pyarrow_table().to_pylist()) == WANTED

    joined.write.parquet(str(tmp_path / "files"))
    score_table(spark, str(tmp_path / "files"), job, output_table=str(tmp_path / "scored"), **options)
    assert read(DeltaTable(str(tmp_path / "scored")).to_pyarrow_table().to_pylist()) == WANTED


def test_names_that_differ_in_case_alone_end_the_planning_of_a_dataframe(spark, tmp_path):
    """As for tables and `spark_ml_predict`; of columns, of added columns, and inside of a struct."""
    options = {"output_table": str(tmp_path / "table"), "model_loader": ModelLoader(tmp_path)}
    for columns, message in (
        (["x", "id AS Confidence"], r"already has 'Confidence' \('confidence'\).*output_prefix"),
        (["x", "id AS y", "id AS Y"], "columns 'y' and 'Y', which differ only in case"),
        (
            ["x", "named_struct('a', 1, 'A', 2) AS s"],
            "columns 'a' and 'A', which differ only in case of the struct 's'",
        ),
    ):
        data = spark.range(3).selectExpr("id", "id + 0.5D AS x").selectExpr(*columns)
        with pytest.raises(InputSchemaError, match=message):
            score_dataframe(spark, data, task(), **options)
    assert not (tmp_path / "table" / "_delta_log").exists()

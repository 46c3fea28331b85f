"""What a user writes, checked by mypy in `make lint`: every public name has its type."""

from collections.abc import Iterator
from typing import Any, assert_type

import dagster as dg
from pyspark.sql import DataFrame, SparkSession

import sparktorch_assets
from sparktorch_assets import (
    LakeResource,
    MlTask,
    ModelLoader,
    ModelSpec,
    NumericFeature,
    ScoreReport,
    SparktorchError,
    TableError,
    build_prediction_definitions,
    check_definitions,
    failed_rows,
    plan_table,
    predict_map,
    runtime_definitions,
    score_dataframe,
    score_table,
    spark_ml_predict,
    start_session,
    vacuum,
    write_if_changed,
)

task = MlTask(
    name="ring",
    input="points",
    model=ModelSpec(weights="ring/model.pt2", trust_code=True),
    features=[NumericFeature(columns=["x", "y"])],
    labels=["outside", "inside"],
)
loader = ModelLoader("data/models")


def use(spark: SparkSession, points: DataFrame) -> None:
    assert_type(start_session(master="local[2]"), SparkSession)
    assert_type(spark_ml_predict(spark, points, task, model_loader=loader), DataFrame)
    assert_type(score_table(spark, "points", task, output_table="predictions", model_loader=loader), ScoreReport)
    assert_type(score_dataframe(spark, points, task, output_table="view", model_loader=loader), ScoreReport)
    assert_type(predict_map(0, [{"x": 1.0, "y": 2.0}], task, model_loader=loader), Iterator[Any])
    assert_type(str(plan_table("a", task, output_table="b", model_loader=loader)), str)
    assert_type(vacuum("predictions").bytes, int)
    assert_type(build_prediction_definitions([task]), dg.Definitions)
    assert_type(check_definitions(dg.Definitions()), dg.Definitions)
    assert_type(failed_rows("predictions", uncommitted=True, limit=None), Any)  # pyarrow has no types
    assert_type(runtime_definitions(".", lake=LakeResource(root="lake")), dg.Definitions)
    try:
        write_if_changed("report", points.toArrow(), "1")
    except TableError as error:
        told: SparktorchError = error
        raise SystemExit(str(told)) from error
    MlTask(name=1)  # type: ignore[arg-type, call-arg]
    sparktorch_assets.nothing  # type: ignore[attr-defined]  # noqa: B018

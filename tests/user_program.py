"""What a user writes, checked by mypy in `make lint`: every public name has its type."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, assert_type

import dagster as dg
import pandas as pd
import pyarrow as pa
import torch
from pyspark.sql import DataFrame, SparkSession

import sparktorch_assets
from sparktorch_assets import (
    BatchModelObject,
    Encoder,
    LakeResource,
    MlTask,
    ModelLoader,
    ModelObject,
    ModelSpec,
    NumericFeature,
    ScoreReport,
    SlotPolicy,
    SparktorchError,
    TableError,
    build_prediction_definitions,
    check_definitions,
    failed_rows,
    plan_table,
    predict_frame,
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


class Rule:
    """A model object as users write it: a generator over rows."""

    def predict(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for row in rows:
            yield {**row, "predicted_class": "inside", "confidence": 1.0}


class FastRule(Rule):
    """The same, over record batches."""

    def predict_batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.record_batch({"predicted_class": ["inside"] * batch.num_rows, "confidence": [1.0] * batch.num_rows})


class Nameless:
    """No model object: it does not predict."""


class Length:
    """An encoder as users write it."""

    def __call__(self, batch: pa.RecordBatch) -> torch.Tensor:
        return torch.tensor([[len(text)] for text in batch.column("text").to_pylist()])


class RuleLoader(ModelLoader):
    """A loader of a user's own model object."""

    def bring_up_model(
        self, ml_task: MlTask | str, gpu: bool = True, gpu_device: int = 0, batch_size: int | None = None
    ) -> ModelObject:
        return Rule()


def bring_along() -> None:
    rule: ModelObject = Rule()
    fast: BatchModelObject = FastRule()
    encoder: Encoder = Length()
    several: Encoder = lambda batch: (encoder(batch), torch.zeros(batch.num_rows))  # noqa: E731
    assert_type(rule.predict([{"x": 1.0}]), Iterable[Mapping[str, Any]])
    assert_type(loader.bring_up_model(task, gpu=False), ModelObject)
    predict_map(0, [fast], task, model_loader=RuleLoader(), slots=SlotPolicy(device="cpu"), concurrent_slots=2)
    predict_map(0, [several], task, modelloader=loader)  # type: ignore[call-arg]
    rule = Nameless()  # type: ignore[assignment]
    fast = Rule()  # type: ignore[assignment]
    encoder = Rule()  # type: ignore[assignment]


def use(spark: SparkSession, points: DataFrame) -> None:
    assert_type(start_session(master="local[2]"), SparkSession)
    assert_type(spark_ml_predict(spark, points, task, model_loader=loader), DataFrame)
    assert_type(score_table(spark, "points", task, output_table="predictions", model_loader=loader), ScoreReport)
    assert_type(score_dataframe(spark, points, task, output_table="view", model_loader=loader), ScoreReport)
    assert_type(predict_map(0, [{"x": 1.0, "y": 2.0}], task, model_loader=loader), Iterator[Any])
    assert_type(predict_frame(pd.DataFrame({"x": [1.0], "y": [2.0]}), task, 512, model_loader=loader), pd.DataFrame)
    assert_type(predict_frame([{"x": 1.0, "y": 2.0}], task, model_loader=loader), Iterator[dict[str, Any]])
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
    sparktorch_assets.nothing  # type: ignore[attr-defined]

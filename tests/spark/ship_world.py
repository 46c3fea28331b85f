"""A table that is scored, and rows that are predicted, with a project's code."""

import dataclasses
import shutil
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from lone_files import lone_file

from sparktorch_assets.orchestration.assets.prediction import build_prediction_asset
from sparktorch_assets.orchestration.resources import LakeResource, ModelLoaderResource, SparkSessionResource
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.ml_predict import spark_ml_predict
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.tasks import Hooks, MlTask, ModelSpec, NumericFeature, RegressionOutput, SlotPolicy

TASK = MlTask(
    name="sums",
    input="numbers",
    model=ModelSpec(factory="shop.nets.sums:build"),
    features=[NumericFeature(columns=["a", "b"])],
    output=RegressionOutput(),
    hooks=Hooks(row_postprocessor="shop.hooks:mark"),
    hook_columns={"mark": "string"},
)
ROWS = 40
CPU = SlotPolicy(device="cpu")


class World:
    """A session, and an input table of two shards."""

    def __init__(self, root: Path, session) -> None:
        self.root, self.session = root, session
        (root / "source").mkdir()
        for number in range(2):
            values = np.arange(ROWS // 2) + ROWS // 2 * number
            table = pa.table({"id": values, "a": values * 0.5, "b": values * 0.25})
            pq.write_table(table, root / "source" / lone_file(f"{number}"))

    def score(self, hook, name="scored", loader=ModelLoader):
        """The marks of a table's rows, and how many have the sum that they should have."""
        score_table(
            self.session,
            str(self.root / "source"),
            dataclasses.replace(TASK, hooks=Hooks(row_postprocessor=hook)),
            output_table=str(self.root / name),
            model_loader=loader(self.root),
            slots=CPU,
            on_progress=lambda progress: None,
        )
        return _seen(DeltaTable(str(self.root / name)).to_pyarrow_table().to_pylist())

    def predict(self, hook):
        """The same of a DataFrame's rows, with a function as the hook."""
        frame = self.session.range(0, ROWS, 1, 2).selectExpr("id", "id * 0.5D AS a", "id * 0.25D AS b")
        loader = ModelLoader(self.root)
        predicted = spark_ml_predict(self.session, frame, TASK, row_postprocessor=hook, model_loader=loader, slots=CPU)
        return _seen([row.asDict() for row in predicted.collect()])

    def materialize(self, spark: SparkSessionResource):
        """The same of an asset's table."""
        lake = self.root / "data" / "lake"
        shutil.copytree(self.root / "source", lake / "numbers")
        resources = {
            "spark": spark,
            "model_loader": ModelLoaderResource(device="cpu", project_root=str(self.root)),
            "lake": LakeResource(project_root=str(self.root)),
        }
        with dg.DagsterInstance.ephemeral() as instance:
            dg.materialize([build_prediction_asset(TASK)], resources=resources, instance=instance)
        return _seen(DeltaTable(str(lake / "predictions" / TASK.name)).to_pyarrow_table().to_pylist())


def _seen(rows):
    return [sorted({row["mark"] for row in rows}), sum(row["predicted_value"] == row["id"] * 1.5 for row in rows)]

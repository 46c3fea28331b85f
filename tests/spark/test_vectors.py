"""Columns of Spark ML vectors, dense and sparse, as a VectorAssembler makes them, on a real session."""

import pytest
import torch
from deltalake import DeltaTable
from pyspark.ml.linalg import Vectors
from safetensors.torch import save_file

from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.ml_predict import spark_ml_predict
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.tasks import MlTask, ModelSpec, RegressionOutput, TensorFeature

ROWS = [
    (1, Vectors.dense([1.0, 2.0, 3.0])),
    (2, Vectors.sparse(3, {1: 5.0})),
    (3, None),
    (4, Vectors.dense([1.0])),
    (5, Vectors.sparse(3, {})),
]
WEIGHTS = [1.0, 10.0, 100.0]
WANTED = {1: 321.0, 2: 50.0, 3: None, 4: None, 5: 0.0}


@pytest.fixture
def task(tmp_path):
    save_file({"weight": torch.tensor([WEIGHTS]), "bias": torch.zeros(1)}, tmp_path / "model.safetensors")
    return MlTask(
        name="weighed",
        model=ModelSpec(
            weights="model.safetensors", architecture="torch.nn:Linear", arguments={"in_features": 3, "out_features": 1}
        ),
        features=[TensorFeature(column="v", shape=[3])],
        output=RegressionOutput(),
        max_failed_share=1.0,
    )


@pytest.mark.promise("M133", "M134")
def test_vectors_of_a_dataframe_and_of_files(spark, task, tmp_path):
    """Both ways of reading give the same numbers; a null and a vector of another size fail their rows."""
    vectors = spark.createDataFrame(ROWS, ["id", "v"])
    loader = ModelLoader(tmp_path)
    found = spark_ml_predict(spark, vectors, task, model_loader=loader).collect()
    assert {row["id"]: row["predicted_value"] for row in found} == WANTED
    assert {row["id"]: row["v"] for row in found} == dict(ROWS)
    vectors.write.parquet(str(tmp_path / "in"))
    score_table(spark, str(tmp_path / "in"), task, output_table=str(tmp_path / "out"), model_loader=loader)
    rows = DeltaTable(str(tmp_path / "out")).to_pyarrow_table().to_pylist()
    assert {row["id"]: row["predicted_value"] for row in rows} == WANTED

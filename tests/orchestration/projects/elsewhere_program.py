"""Materializes one project with each resource replaced in turn; run as a program, in a folder that must stay empty.

python elsewhere_program.py <project>
"""

import os
import sys
from pathlib import Path

import dagster as dg
from dagster_pyspark import LazyPySparkResource

from sparktorch_assets.orchestration.assets.factory import build_input_asset, build_prediction_definitions
from sparktorch_assets.orchestration.resources import LakeResource, ModelLoaderResource, SparkSessionResource
from sparktorch_assets.orchestration.runtime import runtime_definitions
from sparktorch_assets.tasks import InputTable, MlTask, ModelSpec, NumericFeature

TABLE = InputTable(name="numbers", source=["source/*.csv"], format="csv", columns={"a": "double", "b": "double"})
TASK = MlTask(
    name="sign",
    input="numbers",
    model=ModelSpec(
        weights="sign/model.safetensors",
        architecture="torch.nn:Linear",
        arguments={"in_features": 2, "out_features": 2},
    ),
    features=[NumericFeature(columns=["a", "b"])],
    labels=["no", "yes"],
)


class MyLake(LakeResource):
    """A user's own."""

    owner: str


def main(project: str) -> None:
    """Materialize once for each replacement; the first starts the session, so that Spark writes what it writes."""
    os.environ["LAKE_OWNER"] = "me"
    config = {"spark.master": "local[1]", "spark.ui.enabled": "false", "spark.driver.memory": "1g"}
    for replaced in (
        {"spark": LazyPySparkResource(spark_config=config)},
        {"spark": SparkSessionResource(master="local[1]", config=config), "lake": LakeResource(root="lake2")},
        {"lake": LakeResource(root="lake3")},
        {"lake": MyLake(root="lake4", owner=dg.EnvVar("LAKE_OWNER"))},
        {"lake": LakeResource(root="lake5", project_root=f"{project}/own")},
        {"lake": LakeResource(root="lake6"), "model_loader": ModelLoaderResource(models_root="other", device="cpu")},
    ):
        definitions = dg.Definitions.merge(
            dg.Definitions(assets=[build_input_asset(TABLE)]),
            build_prediction_definitions([TASK]),
            runtime_definitions(project, **replaced),
        )
        definitions.resolve_implicit_global_asset_job_def().execute_in_process()


if __name__ == "__main__":
    main(str(Path(sys.argv[1])))

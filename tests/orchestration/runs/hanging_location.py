"""A code location whose runs go on for an hour, for tests that end them. It lies in the folder HANGING_PROJECT."""

import os
from pathlib import Path

import dagster as dg

from sparktorch_assets.orchestration.assets.factory import build_input_asset, build_prediction_definitions
from sparktorch_assets.orchestration.resources import ModelLoaderResource, SparkSessionResource
from sparktorch_assets.orchestration.runtime import runtime_definitions
from sparktorch_assets.tasks import BatchPolicy, InputTable, MlTask, ModelSpec, NumericFeature

POISON = 777.0
"""The network hangs on this value."""
TASK = MlTask(
    name="slow",
    input="table",
    model=ModelSpec(
        factory="sparktorch_assets.testing:build",
        arguments={"network": "HangsOnValue", "value": POISON},
        trust_code=True,
    ),
    features=[NumericFeature(columns=["x"])],
    labels=["0", "1"],
    batch=BatchPolicy(batch_size=16),
)
TABLE = InputTable(
    name="table", source=["source/*.csv"], format="csv", columns={"n": "long", "x": "double"}, options={"header": True}
)


@dg.definitions
def defs() -> dg.Definitions:
    """The assets, and a job for each of the two that take long."""
    session = SparkSessionResource(master="local[2]", config={"spark.driver.memory": "1g", "spark.ui.enabled": "false"})
    return dg.Definitions.merge(
        dg.Definitions(
            assets=[build_input_asset(TABLE)],
            jobs=[
                dg.define_asset_job("read", dg.AssetSelection.assets("table")),
                dg.define_asset_job("predict", dg.AssetSelection.assets("predictions/slow")),
            ],
        ),
        build_prediction_definitions([TASK]),
        runtime_definitions(
            Path(os.environ["HANGING_PROJECT"]),
            spark=session,
            model_loader=ModelLoaderResource(device="cpu", workers=1),
        ),
    )

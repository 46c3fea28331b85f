"""The code location of the production tests, over the folder PRODUCTION_PROJECT: a task that is refreshed every minute,
and an asset that goes on until it is stopped."""

import os
import time
from pathlib import Path

import dagster as dg

from sparktorch_assets import (
    InputTable,
    MlTask,
    ModelLoaderResource,
    ModelSpec,
    NumericFeature,
    SparkSessionResource,
    build_input_asset,
    build_prediction_definitions,
    check_definitions,
    runtime_definitions,
)

PROJECT = Path(os.environ["PRODUCTION_PROJECT"])
NUMBERS = InputTable(
    name="numbers",
    source=["source/*.csv"],
    format="csv",
    columns={"n": "long", "x": "double"},
    options={"header": True},
)
SIGN = MlTask(
    name="sign",
    input="numbers",
    model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}, trust_code=True),
    features=[NumericFeature(columns=["x"])],
    labels=["below", "above"],
)


@dg.asset
def endless() -> None:
    """Goes on for as long as its process."""
    while True:
        time.sleep(1)


@dg.definitions
def defs() -> dg.Definitions:
    session = SparkSessionResource(master="local[1]", config={"spark.driver.memory": "1g", "spark.ui.enabled": "false"})
    return check_definitions(
        dg.Definitions.merge(
            dg.Definitions(
                assets=[build_input_asset(NUMBERS), endless],
                jobs=[dg.define_asset_job("endless_job", dg.AssetSelection.assets("endless"))],
            ),
            build_prediction_definitions([SIGN]),
            runtime_definitions(
                PROJECT,
                spark=session,
                model_loader=ModelLoaderResource(device="cpu", workers=1),
                daily_cron="* * * * *",
            ),
        )
    )

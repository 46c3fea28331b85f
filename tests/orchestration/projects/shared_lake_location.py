"""A code location over the lake of the project SHARED_PROJECT, with the tasks that SHARED_TASKS names; several may share it."""

import os
from pathlib import Path

import dagster as dg

from sparktorch_assets.orchestration.assets.factory import build_input_asset, build_prediction_definitions
from sparktorch_assets.orchestration.resources import ModelLoaderResource, SparkSessionResource
from sparktorch_assets.orchestration.runtime import runtime_definitions
from sparktorch_assets.tasks import InputTable, MlTask, ModelSpec, NumericFeature

NUMBERS = InputTable(
    name="numbers", source=["source/*.csv"], format="csv", columns={"n": "long", "x": "double"}, max_rejected_share=1
)


def task(name: str) -> MlTask:
    """Class `yes` where x is above zero."""
    return MlTask(
        name=name,
        input="numbers",
        model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}, trust_code=True),
        features=[NumericFeature(columns=["x"])],
        labels=["no", "yes"],
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The assets, a job of all of them, and the same with a process for each asset."""
    session = SparkSessionResource(master="local[1]", config={"spark.driver.memory": "1g", "spark.ui.enabled": "false"})
    return dg.Definitions.merge(
        dg.Definitions(
            assets=[build_input_asset(NUMBERS)],
            jobs=[
                dg.define_asset_job("all_in_one"),
                dg.define_asset_job("a_process_each", executor_def=dg.multiprocess_executor),
            ],
        ),
        build_prediction_definitions([task(name) for name in os.environ["SHARED_TASKS"].split(",")]),
        runtime_definitions(
            Path(os.environ["SHARED_PROJECT"]), spark=session, model_loader=ModelLoaderResource(device="cpu")
        ),
    )

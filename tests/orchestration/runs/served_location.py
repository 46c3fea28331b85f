"""A code location whose processes share one Spark Connect server; in the folder SERVED_PROJECT."""

import os
from pathlib import Path

import dagster as dg

from sparktorch_assets.orchestration.assets.factory import build_prediction_definitions
from sparktorch_assets.orchestration.resources import ModelLoaderResource
from sparktorch_assets.orchestration.runtime import runtime_definitions
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature

POISON = 777.0
"""The network of the task `hanging` hangs on this value."""


def task(name: str, **network: object) -> MlTask:
    """Class `yes` where x is above zero."""
    return MlTask(
        name=name,
        input="numbers",
        model=ModelSpec(factory="sparktorch_assets.testing:build", arguments=network, trust_code=True),
        features=[NumericFeature(columns=["x"])],
        labels=["no", "yes"],
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Two tasks that a job runs in a process each, and one that goes on for an hour."""
    both = dg.AssetSelection.assets("predictions/one", "predictions/two")
    return dg.Definitions.merge(
        dg.Definitions(
            jobs=[
                dg.define_asset_job("side_by_side", both, executor_def=dg.multiprocess_executor),
                dg.define_asset_job("hang", dg.AssetSelection.assets("predictions/hanging")),
            ]
        ),
        build_prediction_definitions(
            [
                task("one", network="Echo"),
                task("two", network="Echo"),
                task("hanging", network="HangsOnValue", value=POISON),
            ]
        ),
        runtime_definitions(
            Path(os.environ["SERVED_PROJECT"]), model_loader=ModelLoaderResource(device="cpu", workers=1)
        ),
    )

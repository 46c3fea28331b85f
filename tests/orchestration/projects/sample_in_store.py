"""Materializes the sample graph with its sources, models and lake below a URI; run as a program, which starts a session
that has the environment of a store.

python sample_in_store.py <folder for Dagster's runs> <folder or URI of the project's data> ...

It prints which assets changed in the last run.
"""

import dataclasses
import sys
from typing import Any

import dagster as dg

from sparktorch_assets.orchestration.assets.declared import declaration_of
from sparktorch_assets.orchestration.assets.factory import build_input_asset
from sparktorch_assets.orchestration.commands.run import load_definitions
from sparktorch_assets.orchestration.partitions.runs import range_tags
from sparktorch_assets.orchestration.resources import LakeResource, ModelLoaderResource, SparkSessionResource
from sparktorch_assets.tasks import InputTable


def main(home: str, *places: str) -> None:
    """Materialize in each place, one after the other."""
    definitions = load_definitions("sparktorch_assets.definitions")
    spark = SparkSessionResource(master="local[2]", config={"spark.ui.enabled": "false", "spark.driver.memory": "1g"})
    with dg.DagsterInstance.local_temp(home) as instance:
        for data in places:
            result = dg.materialize(
                [_in_store(asset, data) for asset in definitions.assets or []],
                resources={
                    "spark": spark,
                    "model_loader": ModelLoaderResource(models_root=f"{data}/models", device="cpu"),
                    "lake": LakeResource(root=f"{data}/lake"),
                },
                instance=instance,
                tags=range_tags(["2013-01-01", "2013-02-01"]),
            )
            failed = [check.check_name for check in result.get_asset_check_evaluations() if not check.passed]
            assert (result.success, failed) == (True, [])
    for event in result.get_asset_materialization_events():
        changed = event.materialization.metadata.get("changed")
        if changed is not None:
            print(event.asset_key.to_user_string(), changed.value)  # noqa: T201


def _in_store(asset: Any, data: str) -> Any:
    declared = declaration_of(asset) if isinstance(asset, dg.AssetsDefinition) else None
    if not isinstance(declared, InputTable):
        return asset
    sources = [f"{data}/{source.removeprefix('data/')}" for source in declared.patterns]
    return build_input_asset(dataclasses.replace(declared, source=sources))


if __name__ == "__main__":
    main(*sys.argv[1:])

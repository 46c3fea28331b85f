"""Materializes a part of the sample graph on a cluster, as a Dagster run: prints one line of JSON. Arguments: a master; the
folder of the lake."""

import json
import sys
from pathlib import Path

import dagster as dg

import sparktorch_assets
from sparktorch_assets.orchestration.resources import LakeResource, SparkSessionResource
from sparktorch_assets.orchestration.runtime import runtime_definitions

PACKAGE = Path(sparktorch_assets.__file__).parent
ASSETS = [dg.AssetKey("digits"), dg.AssetKey(["models", "digit"]), dg.AssetKey(["predictions", "digit"])]


def main(master: str, lake: str) -> None:
    config = {"spark.driver.memory": "512m", "spark.executor.memory": "512m", "spark.executor.cores": "1"}
    definitions = dg.Definitions.merge(
        dg.load_from_defs_folder(path_within_project=PACKAGE),
        runtime_definitions(
            PACKAGE.parent, spark=SparkSessionResource(master=master, config=config), lake=LakeResource(root=lake)
        ),
    )
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        done = job.execute_in_process(instance=instance, asset_selection=ASSETS, raise_on_error=False)
        checks = {check.check_name: check.passed for check in done.get_asset_check_evaluations()}
        failed = [str(event.message) for event in done.all_events if event.is_failure]
    sys.stdout.write(json.dumps({"success": done.success, "checks": checks, "failed": failed}))


if __name__ == "__main__":
    main(*sys.argv[1:])

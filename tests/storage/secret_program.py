"""A project whose lake and models are in a guarded store, run in a process of its own with every logger at DEBUG."""

import json
import logging
import sys
from pathlib import Path

import dagster as dg
from deltalake import write_deltalake
from numbers_task import TASK, numbers

import sparktorch_assets as sta
from sparktorch_assets.storage.scopes import storage_scopes


def main(how: str, home: Path, options: dict[str, str]) -> None:
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    lake, models = "s3://lake/lake", "s3://models"
    named = options | {"aws_secret_access_key": dg.EnvVar("CANARY_SECRET")}
    fields = named if how in ("envvar", "connect", "refused") else {}
    if how == "plain":
        sta.set_storage_options(lake, options)
        sta.set_storage_options(models, options)
        sys.stdout.write(f"{storage_scopes()!r}\n")
    resources = {
        "lake": sta.LakeResource(root=lake, storage_options=fields),
        "model_loader": sta.ModelLoaderResource(models_root=models, storage_options=fields, device="cpu"),
        "spark": sta.SparkSessionResource(
            master="local[2]",
            remote="local[2]" if how == "connect" else None,
            config={"spark.eventLog.enabled": "true", "spark.eventLog.dir": f"file://{home}/spark-events"},
        ),
    }
    sys.stdout.write(f"{resources!r}\n")
    definitions = dg.Definitions.merge(
        sta.build_prediction_definitions([TASK]),
        dg.Definitions(resources=resources, executor=dg.in_process_executor),
    )
    if how != "refused":
        write_deltalake(f"{lake}/numbers", numbers(30), storage_options=options, mode="overwrite")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(instance=instance, raise_on_error=True).success


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.loads(sys.stdin.read()))

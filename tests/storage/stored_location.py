"""A code location whose lake is in a store."""

import dagster as dg

from sparktorch_assets import LakeResource, ModelLoaderResource, runtime_definitions

STORE = {"region": "eu-central-1", "access_key_id": "id", "secret_access_key": dg.EnvVar("CANARY_SECRET")}


@dg.asset
def looked(lake: LakeResource) -> None:
    lake.table_uri(dg.AssetKey("looked"))


defs = dg.Definitions.merge(
    dg.Definitions(assets=[looked]),
    runtime_definitions(
        ".",
        lake=LakeResource(root="s3://lake", storage_options=STORE),
        model_loader=ModelLoaderResource(models_root="s3://models", storage_options=STORE),
    ),
)

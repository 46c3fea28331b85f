"""Storage options of Dagster's resources: secrets come from the environment, and only their variables' names are seen."""

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap

from sparktorch_assets.errors import HostError, TaskError
from sparktorch_assets.orchestration.resources import LakeResource, ModelLoaderResource
from sparktorch_assets.orchestration.runtime import runtime_definitions
from sparktorch_assets.storage.opening import delta_options
from sparktorch_assets.storage.scopes import StorageScopes

SECRET = "s3cr3t-c4n4ry"
KEYS = {"aws_access_key_id": dg.EnvVar("STORE_KEY"), "AWS_SECRET_ACCESS_KEY": dg.EnvVar("STORE_SECRET"), "region": "eu"}
FOUND = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "eu"}


@pytest.fixture(autouse=True)
def _set(monkeypatch):
    monkeypatch.setenv("STORE_KEY", "id")
    monkeypatch.setenv("STORE_SECRET", SECRET)
    yield
    StorageScopes().use()


def snapshot(definitions: dg.Definitions) -> str:
    return dg.serialize_value(RepositorySnap.from_def(definitions.get_repository_def()))


@pytest.mark.promise("T152")
def test_a_run_gets_the_values_and_the_location_shows_the_variables_names():
    @dg.asset
    def looked(lake: LakeResource, model_loader: ModelLoaderResource) -> None:
        assert SECRET not in repr(lake) + repr(model_loader)
        assert delta_options(lake.table_uri(dg.AssetKey("t"))) == FOUND
        model_loader.build([])
        assert delta_options("s3://b/models/net") == FOUND

    runtime = runtime_definitions(
        ".",
        lake=LakeResource(root="s3://b/lake", storage_options=KEYS),
        model_loader=ModelLoaderResource(models_root="s3://b/models", storage_options=KEYS, device="cpu"),
    )
    definitions = dg.Definitions.merge(dg.Definitions(assets=[looked]), runtime)
    with dg.DagsterInstance.ephemeral() as instance:
        done = definitions.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance)
        assert done.success
        events = "".join(dg.serialize_value(event) for event in instance.all_logs(done.run_id))
        run = dg.serialize_value(instance.get_run_by_id(done.run_id))
    seen = snapshot(definitions)
    assert "STORE_SECRET" in seen
    assert SECRET not in seen + events + run


@pytest.mark.promise("T152")
@pytest.mark.parametrize(
    "resource",
    [
        LakeResource(root="s3://b/lake", storage_options={"aws_secret_access_key": SECRET}),
        ModelLoaderResource(models_root="abfs://c@a", storage_options={"sas_token": SECRET}),
    ],
)
def test_a_secret_in_plain_is_refused_before_dagster_stores_it(resource):
    with pytest.raises(TaskError, match=r"write dg.EnvVar\('...'\) with that variable's name") as caught:
        dg.Definitions(resources={"lake": resource}).get_repository_def()
    assert SECRET not in str(caught.value)


def test_what_gives_no_access_may_be_written_in_plain():
    plain = {"endpoint_url": "https://minio", "region": "eu", "aws_access_key_id": "id"}
    assert "https://minio" in snapshot(
        runtime_definitions(".", lake=LakeResource(root="s3://b", storage_options=plain))
    )


@pytest.mark.promise("T151")
def test_an_unknown_option_is_refused_when_the_resource_is_made():
    with pytest.raises(ValueError, match="did you mean 'aws_region'") as caught:
        LakeResource(root="s3://b", storage_options={"aws_regoin": SECRET})
    assert SECRET not in str(caught.value)


def test_outside_of_a_run_variables_are_looked_up_when_a_table_is_named(monkeypatch):
    lake = LakeResource(root="s3://b/lake", storage_options=KEYS)
    assert delta_options("s3://b/lake/t") is None
    assert delta_options(lake.folder("t")) == FOUND
    monkeypatch.delenv("STORE_SECRET")
    with pytest.raises(HostError, match="comes from the environment variable 'STORE_SECRET', which is not set"):
        lake.folder("t")


def test_a_local_root_has_no_options(tmp_path):
    lake = LakeResource(root=str(tmp_path), storage_options={"region": "eu"})
    with pytest.raises(TaskError, match="leave them out for a local path"):
        lake.folder("t")

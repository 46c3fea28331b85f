"""Resources: where relative paths start, and what reaches Spark and the workers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_pyspark import LazyPySparkResource
from orchestration_fakes import a_task

from sparktorch_assets.errors import TaskError
from sparktorch_assets.orchestration.resources import (
    LakeResource,
    ModelLoaderResource,
    SparkSessionResource,
    find_project_root,
)
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.tasks import SlotPolicy


def test_relative_paths_start_at_the_project_whatever_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir("/")
    lake = LakeResource(project_root=str(tmp_path))
    assert lake.table_uri(dg.AssetKey(["predictions", "x"])) == f"{tmp_path}/data/lake/predictions/x"
    assert ModelLoaderResource(project_root=str(tmp_path)).build([]).models_root == tmp_path / "data/models"


def test_the_environment_moves_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPARKTORCH_PROJECT_ROOT", str(tmp_path))
    assert find_project_root("/elsewhere") == tmp_path


def test_undeclared_the_project_is_the_nearest_folder_above_with_a_project_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "dg.toml").touch()
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert find_project_root() == tmp_path


def test_the_home_folder_may_be_written_as_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert LakeResource(root="~/lake", project_root="/p").folder() == f"{tmp_path}/lake"
    assert LakeResource(project_root="~/project").folder() == f"{tmp_path}/project/data/lake"
    assert ModelLoaderResource(models_root="~/models", project_root="/p").build([]).models_root == tmp_path / "models"


def test_a_models_root_at_a_uri_is_no_folder_below_the_project():
    loader = ModelLoaderResource(models_root="s3://bucket/models", model_cache="/c", project_root="/p").build([])
    assert (loader.store.root, loader.store.cache) == ("s3://bucket/models", "/c")
    assert ModelLoaderResource(models_root="file:///m%20s", project_root="/p").build([]).models_root == Path("/m s")


@pytest.mark.parametrize("root", ["s3://bucket/lake", "/data/lake"])
def test_absolute_roots_stay(root: str):
    assert LakeResource(root=root, project_root="/p").table_uri(dg.AssetKey(["a", "b"])) == f"{root}/a/b"


def test_the_session_starts_once_and_only_when_asked_for(monkeypatch: pytest.MonkeyPatch):
    calls: list[dict[str, Any]] = []

    def start(**given: Any) -> object:
        calls.append(given)
        return object()

    monkeypatch.setattr("sparktorch_assets.spark.session.start.start_session", start)
    resource = SparkSessionResource(master="local[2]", spark_config={"a": 1, "b": 1}, config={"b": 2})
    assert isinstance(resource, LazyPySparkResource)
    assert not calls
    assert resource.spark_session is resource.spark_session
    assert calls == [
        {
            "master": "local[2]",
            "remote": None,
            "app_name": "sparktorch_assets",
            "config": {"a": 1, "b": 2},
            "gpus_per_worker": None,
        }
    ]


def test_environment_variables_resolve_in_top_level_fields(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPARK_MASTER", "local[3]")
    resource = SparkSessionResource(master=dg.EnvVar("SPARK_MASTER"))
    assert resource.process_config_and_initialize().master == "local[3]"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ModelLoaderResource(devise="cpu"), "ModelLoaderResource has no field 'devise'; did you mean 'device'"),
        (lambda: LakeResource(rot="lake"), "LakeResource has no field 'rot'; did you mean 'root'"),
        (
            lambda: SparkSessionResource(mastre="local"),
            "SparkSessionResource has no field 'mastre'; did you mean 'mast",
        ),
        (
            lambda: SparkSessionResource(configs={}),
            "SparkSessionResource has no field 'configs'; did you mean 'config'",
        ),
    ],
)
def test_a_misspelt_field_is_refused_with_the_nearest_one(make: Callable[[], Any], message: str):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("resource", [SparkSessionResource, ModelLoaderResource, LakeResource])
def test_a_resource_takes_each_of_its_fields_and_survives_dagsters_own_copies(resource: type[Any]):
    made = resource(**{name: field.default for name, field in resource.model_fields.items()})
    assert made.process_config_and_initialize() == made


class MyLoader(ModelLoader):
    pass


@pytest.mark.promise("M24")
def test_the_loader_may_be_a_users_own_and_knows_the_tasks():
    resource = ModelLoaderResource(loader=f"{__name__}:MyLoader", device="cpu", project_root="/p")
    loader = resource.build([a_task()])
    assert type(loader) is MyLoader
    assert loader.find_task("sample") == a_task()
    assert loader.device == "cpu"


def test_the_slot_policy_is_the_resources(monkeypatch: pytest.MonkeyPatch):
    resource = ModelLoaderResource(device="cuda", models_per_gpu=3, gpus_per_worker=4, workers=2)
    assert resource.slot_policy() == SlotPolicy(device="cuda", models_per_gpu=3, gpus_per_worker=4, workers=2)
    with pytest.raises(TaskError, match="device='gpu'; choose auto, cpu or cuda"):
        ModelLoaderResource(device="gpu").slot_policy()

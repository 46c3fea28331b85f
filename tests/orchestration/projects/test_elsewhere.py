"""Runs that are started in another folder than the project's."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import torch
from deltalake import DeltaTable
from safetensors.torch import save_file

from sparktorch_assets.orchestration.resources import LakeResource, ModelLoaderResource
from sparktorch_assets.orchestration.runtime import runtime_definitions

PROGRAM = Path(__file__).with_name("elsewhere_program.py")


class MyLake(LakeResource):
    owner: str = ""


def used(given: LakeResource | ModelLoaderResource) -> LakeResource | ModelLoaderResource:
    """The resource that an asset of a location which was given `given` works with."""
    found = []
    name = "lake" if isinstance(given, LakeResource) else "model_loader"

    @dg.asset(required_resource_keys={name})
    def look(context: dg.AssetExecutionContext) -> None:
        found.append(getattr(context.resources, name))

    resources = runtime_definitions("/the/project", **{name: given}).resources
    dg.materialize([look], resources={name: resources[name]})
    return found[0]


@pytest.mark.parametrize("given", [LakeResource(root="lake3"), ModelLoaderResource(models_root="other")])
def test_a_resource_that_was_replaced_starts_at_the_projects_root(given: LakeResource | ModelLoaderResource):
    assert used(given).project_root == "/the/project"


def test_a_root_of_the_resources_own_stays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_ROOT", "/mine")
    assert used(LakeResource(project_root="/own")).project_root == "/own"
    assert used(LakeResource(project_root=dg.EnvVar("MY_ROOT"))).project_root == "/mine"


def test_what_else_a_resource_is_stays(monkeypatch: pytest.MonkeyPatch):
    """Its class, its fields, and which of them the environment fills when the run starts."""
    given = MyLake(root=dg.EnvVar("MY_LAKE"), owner="me")
    monkeypatch.setenv("MY_LAKE", "lake3")
    found = used(given)
    assert isinstance(found, MyLake)
    assert (found.root, found.owner, found.folder()) == ("lake3", "me", "/the/project/lake3")


def test_a_relative_root_is_the_folder_where_the_location_was_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    lake = runtime_definitions("project").resources["lake"]
    monkeypatch.chdir("/")
    assert lake.folder() == f"{tmp_path}/project/data/lake"


@pytest.mark.slow
@pytest.mark.jvm
@pytest.mark.timeout(300)
def test_nothing_is_read_or_written_below_the_working_directory(tmp_path: Path):
    """With each resource replaced in turn, and by a Spark session that is started there."""
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    (project / "source").mkdir(parents=True)
    (project / "source" / "1.csv").write_text("1.0,2.0\n-1.0,-2.0\n")
    weights = {"weight": torch.tensor([[0.0, 0.0], [1.0, 1.0]]), "bias": torch.zeros(2)}
    for root in ("data/models", "other"):
        (project / root / "sign").mkdir(parents=True)
        save_file(weights, project / root / "sign" / "model.safetensors")
    (project / "own").symlink_to(project)
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(project)],
        cwd=elsewhere,
        env={**os.environ, "PYSPARK_PYTHON": sys.executable, "DAGSTER_HOME": ""},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for lake in ("data/lake", "lake2", "lake3", "lake4", "lake5", "lake6"):
        rows = DeltaTable(project / lake / "predictions" / "sign").to_pyarrow_table()
        assert rows["predicted_class"].to_pylist() == ["yes", "no"]
    assert list(elsewhere.rglob("*")) == []

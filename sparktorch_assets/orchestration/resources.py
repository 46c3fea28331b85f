"""Dagster resources: the Spark session, the model loader, and where tables lie.

Relative paths start at the project's root, whatever the working directory: `dagster dev` may be started elsewhere.
Importing this imports pyspark's Python package, since dagster-pyspark does; it starts no JVM and loads no torch.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_pyspark import LazyPySparkResource

from sparktorch_assets.tasks import MlTask, SlotPolicy
from sparktorch_assets.tasks.import_path import load_import_path
from sparktorch_assets.tasks.slot_policy import DevicePolicy

if TYPE_CHECKING:
    from sparktorch_assets.predict.loader import ModelLoader

PROJECT_ROOT_VARIABLE = "SPARKTORCH_PROJECT_ROOT"
"""Overrides the project's root, for a host that keeps data apart from code."""
_PROJECT_FILES = ("dg.toml", "workspace.yaml", "pyproject.toml")


def find_project_root(declared: str = "") -> Path:
    """The folder that relative paths start at: the environment's, else what the resource declares, else the nearest
    folder above the working directory that holds a project file."""
    chosen = os.environ.get(PROJECT_ROOT_VARIABLE) or declared
    if chosen:
        return Path(chosen).absolute()
    here = Path.cwd()
    return next(
        (folder for folder in (here, *here.parents) if any((folder / name).is_file() for name in _PROJECT_FILES)), here
    )


def _is_uri(path: str) -> bool:
    return "://" in path


class SparkSessionResource(LazyPySparkResource):
    """The Spark session of a run, started when it is first asked for: classic, or on a Spark Connect server.

    Where any asset of this library asks for the resource `spark`, every other dagster-pyspark resource does as well.
    """

    spark_config: dict[str, Any] = {}  # noqa: RUF012  (a pydantic field: every instance gets its own copy)
    """dagster-pyspark's own field; `config` wins over it. dagster does not resolve `EnvVar` inside either."""
    master: str = "local[*]"
    remote: str | None = None
    """A Spark Connect server, `sc://host:15002`; `master` is then ignored."""
    config: dict[str, Any] = {}  # noqa: RUF012
    """Spark settings; they win over this library's defaults."""
    app_name: str = "sparktorch_assets"

    def _init_session(self) -> None:
        if self._spark_session is None:
            from sparktorch_assets.spark.session import start_session

            self._spark_session = start_session(
                master=self.master,
                remote=self.remote,
                app_name=self.app_name,
                config={**self.spark_config, **self.config},
            )


class ModelLoaderResource(dg.ConfigurableResource[Any]):
    """Which models there are, and what they run on. Holds settings alone: workers load the models."""

    models_root: str = "data/models"
    device: str = "auto"
    """`auto`: a GPU where there is one. `cuda`: a GPU or an error. `cpu`: never a GPU."""
    models_per_gpu: int = 2
    gpus_per_worker: int | None = None
    """`None` asks Spark, then counts the driver's own."""
    workers: int | None = None
    """Spark workers; `None` asks Spark."""
    batch_size: int | None = None
    """Rows a forward pass, for tasks that do not say."""
    loader: str = "sparktorch_assets.predict.loader:ModelLoader"
    """Import path of a ModelLoader or a subclass of it."""
    project_root: str = ""

    def build(self, tasks: Iterable[MlTask]) -> "ModelLoader":
        """The loader, knowing `tasks`.

        Raises:
            TaskError: `loader` cannot be imported.
        """
        loader = load_import_path(self.loader, "ModelLoaderResource.loader")
        return loader(  # type: ignore[no-any-return]
            find_project_root(self.project_root) / self.models_root, tasks, device=self.slot_policy().device
        )

    def slot_policy(self) -> SlotPolicy:
        """How many model instances work at once, and on what.

        Raises:
            TaskError: a field holds a value that cannot work.
        """
        device: DevicePolicy = self.device  # type: ignore[assignment]  # SlotPolicy checks it, with a better message
        return SlotPolicy(
            device=device,
            models_per_gpu=self.models_per_gpu,
            gpus_per_worker=self.gpus_per_worker,
            workers=self.workers,
        )


class LakeResource(dg.ConfigurableResource[Any]):
    """Where tables lie: asset key `predictions/x` is the table `<root>/predictions/x`."""

    root: str = "data/lake"
    """A folder, or a URI such as `s3://bucket/lake`."""
    project_root: str = ""

    @property
    def project_path(self) -> Path:
        """The project's root."""
        return find_project_root(self.project_root)

    def folder(self, *parts: str) -> str:
        """A place under the root."""
        root = self.root if _is_uri(self.root) else str(self.project_path / self.root)
        return "/".join([root.rstrip("/"), *parts])

    def table_uri(self, key: dg.AssetKey) -> str:
        """The table that an asset stands for."""
        return self.folder(*key.path)

"""Dagster resources: the Spark session, the model loader, and where tables lie.

Relative paths start at the project's root, whatever the working directory: `dagster dev` may be started elsewhere.
Importing this imports pyspark's Python package, since dagster-pyspark does; it starts no JVM and loads no torch.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import dagster as dg
from dagster_pyspark import LazyPySparkResource
from pydantic import ConfigDict, Field, field_validator, model_validator

from sparktorch_assets.errors import HostError, TaskError, nearest
from sparktorch_assets.masking import without_secrets
from sparktorch_assets.tasks import MlTask, SlotPolicy
from sparktorch_assets.tasks.code.import_path import load_import_path
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
        return Path(chosen).expanduser().absolute()
    here = Path.cwd()
    return next(
        (folder for folder in (here, *here.parents) if any((folder / name).is_file() for name in _PROJECT_FILES)), here
    )


def _is_uri(path: str) -> bool:
    return "://" in path


class StrictResource(dg.ConfigurableResource[Any]):
    """A resource that refuses fields which it does not have, and shows no value that may hold a secret."""

    # A rejected value would otherwise stand in the error's text, and with it what the other fields hold.
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_fields(cls, given: Any) -> Any:
        for name in given if isinstance(given, dict) else ():
            if name not in cls.model_fields:
                raise ValueError(f"{cls.__name__} has no field {name!r}; {nearest(name, cls.model_fields)}")
        return given

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, without_secrets(value) if isinstance(value, str) else value


class ProjectResource(StrictResource):
    """A resource whose relative paths start at the project's root."""

    project_root: str = ""
    """`find_project_root` says what an empty one stands for."""

    def in_project(self, root: str) -> Self:
        """This resource with `root` as its project's root, unless it names one. All else is as it was: fields that are an
        `EnvVar` stay one, and a subclass stays what it is."""
        if self.project_root:
            return self
        # Built anew, since Dagster fixes a resource's configuration when it is made: in a model_copy, the root would be
        # the one of before again when a run starts.
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self)(**{**given, "project_root": root})


class SparkSessionResource(StrictResource, LazyPySparkResource):
    """The Spark session of a run, started when it is first asked for: classic, or on a Spark Connect server.

    Where any asset of this library asks for the resource `spark`, every other dagster-pyspark resource does as well.
    """

    spark_config: dict[str, Any] = Field(default={}, repr=False)
    """dagster-pyspark's own field; `config` wins over it."""
    master: str = "local[*]"
    remote: str | None = None
    """A Spark Connect server, `sc://host:15002`; `master` is then ignored."""
    config: dict[str, Any] = Field(default={}, repr=False)
    """Spark settings; they win over this library's defaults. Dagster keeps these values and shows them in its UI."""
    config_from_environment: dict[str, str] = {}  # noqa: RUF012  (a pydantic field: every instance gets its own copy)
    """Spark setting -> the environment variable that holds its value, which is read when the session starts. This is the
    way to give a secret: Dagster sees the variable's name alone."""
    app_name: str = "sparktorch_assets"

    def _init_session(self) -> None:
        if self._spark_session is None:
            from sparktorch_assets.spark.session.start import start_session

            self._spark_session = start_session(
                master=self.master,
                remote=self.remote,
                app_name=self.app_name,
                config={**self.spark_config, **self.config, **self._settings_from_environment()},
            )

    @field_validator("spark_config", "config")
    @classmethod
    def _refuse_environment_variables(cls, given: dict[str, Any]) -> dict[str, Any]:
        for setting, value in given.items():
            if isinstance(value, dg.EnvVar):
                raise ValueError(  # noqa: TRY004  (what pydantic expects)
                    f"{setting} is an EnvVar, which Dagster resolves only in the fields of a resource, not inside them; "
                    f"write config_from_environment={{{setting!r}: {value.env_var_name!r}}}"
                )
        return given

    def _settings_from_environment(self) -> dict[str, str]:
        for setting, variable in self.config_from_environment.items():
            if variable not in os.environ:
                raise HostError(
                    f"SparkSessionResource.config_from_environment takes {setting} from the environment variable "
                    f"{variable!r}, which is not set; set it where the run starts"
                )
        return {setting: os.environ[variable] for setting, variable in self.config_from_environment.items()}


class ModelLoaderResource(ProjectResource):
    """Which models there are, and what they run on. Holds settings alone: workers load the models."""

    models_root: str = "data/models"
    device: str = "auto"
    """`auto`: a GPU where there is one. `cuda`: a GPU or an error. `cpu`: never a GPU."""
    models_per_gpu: int = 2
    gpus_per_worker: int | None = None
    """`None` takes `spark.executor.resource.gpu.amount`, in local mode this host's GPUs."""
    workers: int | None = None
    """Spark workers (executors); `None` takes what Spark is configured for, else what has registered."""
    batch_size: int | None = None
    """Rows a forward pass, for tasks that do not say."""
    loader: str = "sparktorch_assets.predict.loader:ModelLoader"
    """Import path of a ModelLoader or a subclass of it."""

    def build(self, tasks: Iterable[MlTask]) -> "ModelLoader":
        """The loader, knowing `tasks`.

        Raises:
            TaskError: `loader` cannot be imported, or `models_root` is no folder.
        """
        if _is_uri(self.models_root):
            raise TaskError(
                f"ModelLoaderResource.models_root={without_secrets(self.models_root)!r} is a URI, and models are read as local "
                f"files; give a folder that every worker has at the same path, such as a mounted volume"
            )
        loader = load_import_path(self.loader, "ModelLoaderResource.loader")
        return loader(  # type: ignore[no-any-return]
            find_project_root(self.project_root) / Path(self.models_root).expanduser(),
            tasks,
            device=self.slot_policy().device,
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


class LakeResource(ProjectResource):
    """Where tables lie: asset key `predictions/x` is the table `<root>/predictions/x`."""

    root: str = "data/lake"
    """A folder, or a URI such as `s3://bucket/lake`."""

    @property
    def project_path(self) -> Path:
        """The project's root."""
        return find_project_root(self.project_root)

    def folder(self, *parts: str) -> str:
        """A place under the root."""
        root = self.root if _is_uri(self.root) else str(self.project_path / Path(self.root).expanduser())
        return "/".join([root.rstrip("/"), *parts])

    def table_uri(self, key: dg.AssetKey) -> str:
        """The table that an asset stands for."""
        return self.folder(*key.path)

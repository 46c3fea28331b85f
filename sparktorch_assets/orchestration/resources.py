"""Dagster resources: the Spark session, the model loader, and the location of tables.

Relative paths are resolved against the project's root, not the working directory: `dagster dev` may be started
elsewhere. Importing this module imports pyspark, because dagster-pyspark does, but it starts no JVM and does not load
torch.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import dagster as dg
from dagster_pyspark import LazyPySparkResource
from pydantic import ConfigDict, Field, field_validator, model_validator

from sparktorch_assets.errors import HostError, nearest
from sparktorch_assets.masking import without_secrets
from sparktorch_assets.orchestration.storage_field import named_options, options_now, refuse_plain_secrets
from sparktorch_assets.storage.opening import delta_options
from sparktorch_assets.storage.scopes import set_storage_options
from sparktorch_assets.stores.remote_root import absolute_root, is_uri
from sparktorch_assets.tasks import MlTask, SlotPolicy
from sparktorch_assets.tasks.code.import_path import load_import_path
from sparktorch_assets.tasks.code.unpacked_code import SHIP_SETTING
from sparktorch_assets.tasks.slot_policy import DevicePolicy

if TYPE_CHECKING:
    from sparktorch_assets.predict.loader import ModelLoader

PROJECT_ROOT_VARIABLE = "SPARKTORCH_PROJECT_ROOT"
"""Environment variable that overrides the project's root, for a host that keeps data apart from code."""
_PROJECT_FILES = ("dg.toml", "workspace.yaml", "pyproject.toml")


def find_project_root(declared: str = "") -> Path:
    """The folder that relative paths are resolved against: the one that the environment variable names, else
    `declared`, else the nearest folder from the working directory upwards that holds a project file, else the working
    directory."""
    chosen = os.environ.get(PROJECT_ROOT_VARIABLE) or declared
    if chosen:
        return Path(chosen).expanduser().absolute()
    here = Path.cwd()
    return next(
        (folder for folder in (here, *here.parents) if any((folder / name).is_file() for name in _PROJECT_FILES)), here
    )


class StrictResource(dg.ConfigurableResource[Any]):
    """A resource that refuses unknown fields, and shows no value that may hold a secret."""

    # Otherwise the error's text would contain the rejected value, and with it those of the other fields.
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
    """A resource with a root folder, or a URI in a store. Relative paths are resolved against the project's root."""

    project_root: str = ""
    """The project's root; if empty, `find_project_root` finds it."""
    storage_options: dict[str, str] = Field(default={}, repr=False)
    """Options with which everything under the root is opened if it is a URI of S3, Google Cloud Storage or Azure, such as
    `endpoint_url`; named as in delta-rs. Each secret has to be a `dg.EnvVar`, since Dagster stores other values and shows
    them in its UI. Whatever is left out comes from the environment of each host."""

    @field_validator("storage_options", mode="before")
    @classmethod
    def _name_options(cls, given: Any) -> Any:
        return named_options(given, cls.__name__)

    def get_resource_definition(self) -> Any:
        """What Dagster stores of this resource, and shows in its UI.

        Raises:
            TaskError: it would contain a secret.
        """
        refuse_plain_secrets(self.storage_options, type(self).__name__)
        return super().get_resource_definition()

    def _use_storage_options(self, root: str) -> None:
        """Make this process open everything under `root` with the options, if there are any."""
        if self.storage_options:
            set_storage_options(root, options_now(self.storage_options, type(self).__name__))

    def in_project(self, root: str) -> Self:
        """This resource with `root` as its project's root, unless it names one itself. Everything else is kept: fields
        that are an `EnvVar` stay one, and a subclass keeps its class."""
        if self.project_root:
            return self
        # Built anew, since Dagster fixes a resource's configuration when the resource is made: a model_copy would have
        # its old root again when a run starts.
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self)(**{**given, "project_root": root})


class SparkSource(Protocol):
    """What this library's assets need under the key `spark`: any resource with a `spark_session`, such as those of
    dagster-pyspark."""

    @property
    def spark_session(self) -> Any:
        """The session, which may be started by this."""


class SparkSessionResource(StrictResource, LazyPySparkResource):
    """The Spark session of a run, started on first use: classic, or on a Spark Connect server.

    This library's assets accept any other dagster-pyspark resource under the key `spark` as well.
    """

    spark_config: dict[str, Any] = Field(default={}, repr=False)
    """dagster-pyspark's own field; `config` takes precedence over it."""
    master: str = "local[*]"
    """The address of Spark's cluster manager: `local[*]` uses all cores of this host."""
    remote: str | None = None
    """The address of a Spark Connect server, such as `sc://host:15002`; `master` is then ignored."""
    config: dict[str, Any] = Field(default={}, repr=False)
    """Spark settings, which take precedence over this library's defaults. Dagster stores these values and shows them in
    its UI."""
    config_from_environment: dict[str, str] = {}  # noqa: RUF012  (a pydantic field: every instance gets its own copy)
    """Spark setting -> name of the environment variable that holds its value, which is read when the session starts.
    Use this for secrets: Dagster sees only the variable's name."""
    app_name: str = "sparktorch_assets"
    """The application's name in Spark's UI."""
    gpus_per_worker: int | None = None
    """GPUs of each executor that Spark is to schedule on a cluster. How many models share one is said by
    `models_per_gpu` of the model loader."""
    ship: bool | None = None
    """Whether jobs bring the modules of the user's own code that tasks name along, for workers whose Python path lacks
    them. `None` means yes, except in local mode, where workers have the environment of this process; or what the setting
    `spark.sparktorch.ship` says."""

    def _init_session(self) -> None:
        if self._spark_session is None:
            from sparktorch_assets.spark.session.start import start_session

            self._spark_session = start_session(
                master=self.master,
                remote=self.remote,
                app_name=self.app_name,
                config={
                    **self.spark_config,
                    **self.config,
                    **self._settings_from_environment(),
                    **({SHIP_SETTING: self.ship} if self.ship is not None else {}),
                },
                gpus_per_worker=self.gpus_per_worker,
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
    """Where models are found and what they run on. It holds only settings: workers load the models."""

    models_root: str = "data/models"
    """The folder that relative paths of weights and other files in tasks start at; the same path on every worker. Or a
    URI, such as `s3://bucket/models`, of which each host copies what a task names."""
    model_cache: str = ""
    """The folder on each host for copies of models that are at a URI or in an MLflow registry; if empty, the one that the
    environment variable `SPARKTORCH_MODEL_CACHE` names there, or a folder in the user's folder for caches."""
    model_cache_gb: float = 50
    """What these copies take at most on each host, in gigabytes (10^9 bytes): the least recently used ones are deleted, but
    none that a living process uses."""
    tracking_uri: str = ""
    """The address of the MLflow server that has models with addresses such as `models:/name@alias`; if empty, what
    `MLFLOW_TRACKING_URI` says. User and password belong in MLflow's own environment variables, here and on the workers."""
    device: str = "auto"
    """`auto` uses a GPU if there is one, `cuda` requires one, and `cpu` never uses one."""
    models_per_gpu: int = 2
    """Model instances per GPU: while one copies, another computes."""
    gpus_per_worker: int | None = None
    """Number of GPUs per worker; `None` means `spark.executor.resource.gpu.amount`, or in local mode all GPUs of this
    host."""
    workers: int | None = None
    """Number of Spark workers (executors); `None` means the configured number, or else the number that have
    registered."""
    batch_size: int | None = None
    """Rows per forward pass, for tasks that do not set a size."""
    loader: str = "sparktorch_assets.predict.loader:ModelLoader"
    """Import path of a ModelLoader or a subclass of it."""

    def build(self, tasks: Iterable[MlTask]) -> "ModelLoader":
        """Build the loader for `tasks`.

        Raises:
            TaskError: `loader` cannot be imported, `models_root` or `tracking_uri` contains a password, or
                `storage_options` do not fit `models_root`.
            HostError: the environment variable of a storage option is not set.
        """
        self._use_storage_options(self.models_root)
        loader = load_import_path(self.loader, "ModelLoaderResource.loader")
        # Only what is set, since the class may be a user's own and take no more than the first three.
        given: dict[str, Any] = {
            name: value for name, value in (("cache", self.model_cache), ("tracking_uri", self.tracking_uri)) if value
        }
        if "model_cache_gb" in self.model_fields_set:
            given["cache_bytes"] = int(self.model_cache_gb * 10**9)
        return loader(self.models_place, tasks, device=self.slot_policy().device, **given)  # type: ignore[no-any-return]

    @property
    def models_place(self) -> str | Path:
        """The folder that the paths of weights are relative to, or its URI."""
        if is_uri(self.models_root):
            return self.models_root
        if "://" in self.models_root:
            return Path(absolute_root(self.models_root))
        return find_project_root(self.project_root) / Path(self.models_root).expanduser()

    def slot_policy(self) -> SlotPolicy:
        """How many model instances run at once, and on which devices.

        Raises:
            TaskError: a field has an invalid value.
        """
        device: DevicePolicy = self.device  # type: ignore[assignment]  # SlotPolicy checks it, with a better message
        return SlotPolicy(
            device=device,
            models_per_gpu=self.models_per_gpu,
            gpus_per_worker=self.gpus_per_worker,
            workers=self.workers,
        )


class LakeResource(ProjectResource):
    """The location of tables: asset key `predictions/x` is the table `<root>/predictions/x`."""

    root: str = "data/lake"
    """A folder, or a URI such as `s3://bucket/lake`."""

    @property
    def project_path(self) -> Path:
        """The project's root."""
        return find_project_root(self.project_root)

    def folder(self, *parts: str) -> str:
        """The path or URI of a folder under the root. From now on, this process opens it with `storage_options`.

        Raises:
            TaskError: `storage_options` do not fit the root.
            HostError: the environment variable of a storage option is not set.
        """
        self._use_storage_options(self.root)
        root = self.root if "://" in self.root else str(self.project_path / Path(self.root).expanduser())
        return "/".join([root.rstrip("/"), *parts])

    def table_uri(self, key: dg.AssetKey) -> str:
        """The path or URI of an asset's table."""
        return self.folder(*key.path)

    def delta_options(self) -> dict[str, str] | None:
        """`storage_options` as `deltalake`, `polars` and others take them, for tables under the root that your own assets
        open: `DeltaTable(lake.table_uri(key), storage_options=lake.delta_options())`. `None` if there are none."""
        return delta_options(self.folder())

    def tables_beside(self, key: dg.AssetKey) -> list[str]:
        """The names of the Delta tables in the folder in which the asset's table is or should be."""
        from pyarrow import fs

        from sparktorch_assets.lake.files.folder import Folder

        folder = Folder(self.folder(*key.path[:-1]))
        found = folder.filesystem.get_file_info(fs.FileSelector(folder.root, allow_not_found=True))
        return [item.base_name for item in found if folder.is_folder(f"{item.base_name}/_delta_log")]

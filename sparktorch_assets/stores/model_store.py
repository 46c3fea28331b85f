"""Where a loader's models are, and how their files get to this host."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from sparktorch_assets.errors import ModelError
from sparktorch_assets.stores.cache import cache_folder
from sparktorch_assets.stores.linked_root import linked_root
from sparktorch_assets.stores.mlflow_folder import MODEL, open_task
from sparktorch_assets.stores.mlflow_server import ModelVersion, fetched, resolve
from sparktorch_assets.stores.remote_root import MOST_BYTES, RemoteRoot, is_uri
from sparktorch_assets.tasks.files.model_files import data_of_weights, named_files
from sparktorch_assets.tasks.ml_task import MlTask


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelStore:
    """Where models are. Picklable: the driver settles a task, and workers fetch what it has found."""

    root: str
    """The models root: a local folder, or a URI."""
    cache: str = ""
    """The folder for copies on each host; if empty, see `cache_folder`."""
    tracking_uri: str = ""
    """The MLflow server; if empty, the one that MLflow takes."""
    most_bytes: int = MOST_BYTES
    """What the copies of models on each host take at most."""
    settled: bool = False
    """Whether a task's model has been looked up, so that nothing more is asked than what is not on this host."""
    verify: bool = False
    """Whether copies are read, and made anew if they are damaged."""
    version: ModelVersion | None = None
    """The version that the task's address means."""
    links: tuple[tuple[str, str], ...] = ()
    """The files of the task's MLflow model: name under the models root -> path in the model's folder."""
    mlflow_folder: str = ""
    """The MLflow model's folder under the models root, if it is in no registry."""

    @property
    def is_plain(self) -> bool:
        """Whether the models root itself is what tasks are given."""
        return not is_uri(self.root) and not self.links

    def settle(self, task: MlTask) -> tuple["ModelStore", MlTask]:
        """The store of this task alone, with the version that its model's address means now; and the task, with what
        that version is for a model. Both stay as they are when they are settled again.

        Raises:
            ModelError: a server or a store does not answer, or does not have what the task names.
        """
        if task.model.format != "mlflow":
            return self, task
        assert task.model.weights is not None  # ModelSpec requires them for every format but a factory's
        if task.model.registered:
            version = resolve(str(task.model.weights), self.tracking_uri)
            found, links = open_task(task, fetched(version, cache_folder(self.cache), self.most_bytes))
            return replace(self, settled=False, version=version, links=links, mlflow_folder=""), found
        folder = self._own_root([str(task.model.weights)]) / task.model.weights
        found, links = open_task(task, folder)
        return replace(self, settled=False, version=None, links=links, mlflow_folder=str(task.model.weights)), found

    def folder(self, task: MlTask) -> Path:
        """The local folder in which everything that a settled task names is, under its name. What is not on this host
        yet is fetched.

        Raises:
            ModelError: a server or a store does not answer.
            HostError: this host has no place for copies.
        """
        own = [name for name in task.files if not self.links or name.split("/", 1)[0] != MODEL]
        root = self._own_root([*own, self.mlflow_folder] if self.mlflow_folder else own, task.argument_texts)
        if not self.links:
            if is_uri(self.root) and (held := data_of_weights(task, root)):
                self._own_root(held)
            return root
        cache = cache_folder(self.cache)
        model = root / self.mlflow_folder if self.version is None else fetched(self.version, cache, self.most_bytes)
        linked = {name: model / path for name, path in self.links}
        linked |= {name: root / name for name in _to_link((*own, *named_files(task, root)), f"task {task.name!r}")}
        return linked_root(cache, linked)

    def refetch(self, task: MlTask) -> None:
        """Look again whether the copies on this host are those of the store's present objects, and undamaged."""
        replace(self, settled=False, verify=True).folder(task)

    def fetch_file(self, name: str) -> Path:
        """The local path of a file under the models root that is no part of the model: of rows to check it with, for
        instance. At a URI, it is copied to this host, as it is there now. It need not exist.

        Raises:
            ModelError: a store does not answer.
        """
        if not is_uri(self.root):
            return Path(self.root) / name
        remote = self._remote()
        remote.fetch([name], again=True)
        return remote.path / name

    def fetch_beside(self, task: MlTask, name: str) -> None:
        """Copy the file of this name next to the task's weights to this host, if it is at the URI of the models root. It is
        no part of the model, so `folder` leaves it where it is."""
        if is_uri(self.root) and not self.links and task.model.weights is not None:
            beside = str(PurePosixPath(str(task.model.weights)).parent / name)
            self._remote().fetch((), (beside,), again=True)

    def _own_root(self, names: Sequence[str], perhaps: Sequence[str] = ()) -> Path:
        """The models root on this host, with the files of these names."""
        if not is_uri(self.root):
            return Path(self.root)
        remote = self._remote()
        remote.fetch(names, perhaps, again=not self.settled, verify=self.verify)
        return remote.path

    def _remote(self) -> RemoteRoot:
        return RemoteRoot(self.root, cache_folder(self.cache), self.most_bytes)


def _to_link(names: Iterable[str], where: str) -> list[str]:
    """The names that need a link of their own: an absolute path is found anywhere, and what is in a linked folder there.

    Raises:
        ModelError: a name leads out of the models root.
    """
    paths = {PurePosixPath(name) for name in names if not PurePosixPath(name).is_absolute()}
    outside = sorted(str(path) for path in paths if ".." in path.parts)
    if outside:
        raise ModelError(
            f"{where}: {outside[0]} lies outside of the models root, where a task with an MLflow model finds nothing; put it "
            f"into the models root, or give its absolute path"
        )
    return sorted(str(path) for path in paths if not any(parent in paths for parent in path.parents))

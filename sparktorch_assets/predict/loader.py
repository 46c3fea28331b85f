"""ModelLoader: finds a task's declaration and brings its model up on a device. Importing this does not load torch."""

import copy
import logging
import socket
import uuid
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparktorch_assets.errors import DeviceError, ModelError, TaskError, UnknownTaskError, nearest
from sparktorch_assets.predict.model.opened_files import opened_files
from sparktorch_assets.predict.protocols import ModelObject
from sparktorch_assets.stores.mlflow_server import check_tracking_uri
from sparktorch_assets.stores.model_store import ModelStore
from sparktorch_assets.stores.remote_root import MOST_BYTES, absolute_root, check_root
from sparktorch_assets.tasks.batch_policy import DEFAULT_BATCH_SIZE
from sparktorch_assets.tasks.code.import_path import import_path_code, load_import_path
from sparktorch_assets.tasks.code.imported_code import DECLARED, check_code
from sparktorch_assets.tasks.digest import (
    code_of,
    declared_state,
    digest_of,
    files_digest,
    model_code,
    model_digest,
    task_code,
)
from sparktorch_assets.tasks.files.completed_task import completed_task
from sparktorch_assets.tasks.files.model_files import FilesInUse, check_file, model_files, weights_sha256
from sparktorch_assets.tasks.files.model_trust import check_weights
from sparktorch_assets.tasks.ml_task import MlTask
from sparktorch_assets.tasks.outputs import GenerationOutput
from sparktorch_assets.tasks.plain_state import classes_in, plain_state
from sparktorch_assets.tasks.slot_policy import DevicePolicy, check_device

if TYPE_CHECKING:
    import torch

_LOG = logging.getLogger(__name__)
_CODE = (".py", ".pyc", ".so")
_OWN_STATE = ("models_root", "tasks", "device", "store")
"""Attributes of `ModelLoader` that its digest leaves out: paths, and declarations that have digests of their own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelDescription:
    """Properties of a model that are known without any rows."""

    digest: str
    """SHA-256 of the weights file; for a factory without one, of its code and arguments."""
    format: str
    file_bytes: int | None
    parameters: int | None
    """Number of parameters; `None` for a model without tensors of torch, such as a model object of your own or an ONNX
    file."""


class ModelLoader:
    """Brings up the models of declared tasks. Picklable, because Spark sends it to the workers.

    Subclass it to load models differently: override `load_module` for another file format or source, or
    `bring_up_model` to return any `ModelObject`. The instance state of a subclass may affect predictions,
    and is part of the fingerprints of prediction tables; see `digest`.

    Args:
        models_root: the folder that relative paths in tasks refer to; the same path on every worker. Or a URI that
            `pyarrow.fs` knows, such as `s3://bucket/models`: each host copies what a task names. Its credentials are
            those of the environment, or of `set_storage_options`.
        tasks: the tasks that can be requested by name.
        device: `auto` leaves the choice to `SlotPolicy.device` and, if that is `auto` as well, uses a GPU if there is
            one; `cuda` requires a GPU, `cpu` never uses one.
        cache: the folder on each host for copies of what is at a URI or in an MLflow registry; if empty, the one that
            the environment variable `SPARKTORCH_MODEL_CACHE` names, or a folder in the user's folder for caches.
        tracking_uri: the address of the MLflow server; if empty, the one that MLflow takes (`MLFLOW_TRACKING_URI`).
        cache_bytes: what the copies on each host take at most, in bytes: the least recently used ones are deleted, but
            none that a living process uses.

    Raises:
        TaskError: the device is unknown, or an address contains a password.
    """

    def __init__(
        self,
        models_root: str | Path = "data/models",
        tasks: Iterable[MlTask] = (),
        device: DevicePolicy = "auto",
        *,
        cache: str | Path = "",
        tracking_uri: str = "",
        cache_bytes: int = MOST_BYTES,
    ) -> None:
        check_device(device, "ModelLoader.device")
        check_root(str(models_root), "ModelLoader.models_root")
        check_tracking_uri(tracking_uri, "ModelLoader.tracking_uri")
        root = absolute_root(models_root)
        self.store = ModelStore(root=root, cache=str(cache), tracking_uri=tracking_uri, most_bytes=cache_bytes)
        self.models_root = Path(root)
        """The local folder that relative paths in tasks refer to; if that is not `models_root` itself, see `settled`."""
        self.tasks = {task.name: task for task in tasks}
        self.device: DevicePolicy = device

    def find_task(self, ml_task: MlTask | str) -> MlTask:
        """The task itself, or the declared task of this name; with a Hugging Face folder or an ONNX file, completed by what
        that says: see `completed_task`. With an MLflow model, its output and labels are completed.

        Raises:
            UnknownTaskError: no task has this name.
            ModelError: the task leaves something to a folder that is not there, or that does not say it; or a store or
                a registry does not answer, or does not have the model.
        """
        declared = self._declared(ml_task)
        if declared.model.format not in ("huggingface", "onnx", "mlflow"):
            return declared
        _, found = self.settled(declared)
        if declared.model.format != "mlflow":
            return found
        # What else it says is looked up anew each time, since the address may mean another version then.
        return replace(declared, output=found.output, labels=found.labels)

    def settled(self, ml_task: MlTask | str) -> tuple["ModelLoader", MlTask]:
        """A loader for this task alone, whose `models_root` is a local folder that has everything that the task names;
        and the task as that folder completes it. With a local models root, the loader itself.

        Of a URI, the files that the task names are copied to this host. The address of an MLflow model is resolved:
        the task then names what the present version holds, whose digest does not depend on the address. Settled
        again, on this host or on a worker, both stay as they are; there, what the worker does not have is fetched.

        Raises:
            UnknownTaskError, ModelError: as raised by `find_task`.
        """
        store, task = self.store.settle(self._declared(ml_task))
        if store.is_plain:
            return self, completed_task(task, self.models_root)
        loader = copy.copy(self)
        loader.models_root = store.folder(task)
        loader.store = replace(store, settled=True)
        return loader, completed_task(task, loader.models_root)

    def with_planned_files(self, task: MlTask, planned: str) -> tuple["ModelLoader", FilesInUse]:
        """On a worker, a settled loader with the files that a run was planned with, and these files as they were before
        their content was compared.

        Args:
            task: the settled task.
            planned: the driver's `files_digest`.

        Raises:
            ModelError: what this host has, or can fetch, is not that content.
        """
        loader, files, found = self._files_here(task)
        if found != planned and not self.store.is_plain:
            self.store.refetch(task)  # this host's copies may be older than the plan
            loader, files, found = self._files_here(task)
        if found == planned:
            return loader, files
        raise ModelError(
            f"task {task.name!r}: the model's files under {loader.models_root} on {socket.gethostname()} are not "
            f"those that this run was planned with (digest {found[:12]}, planned {planned[:12]}). They changed meanwhile, or "
            f"this host has another copy; make them the same and run again"
        )

    def _files_here(self, task: MlTask) -> tuple["ModelLoader", FilesInUse, str]:
        loader, _ = self.settled(task)
        return loader, FilesInUse(task, loader.models_root), files_digest(task, loader.models_root)

    def _declared(self, ml_task: MlTask | str) -> MlTask:
        if not isinstance(ml_task, MlTask) and ml_task not in self.tasks:
            raise UnknownTaskError(f"there is no ml_task {ml_task!r}; {nearest(ml_task, self.tasks)}")
        task = ml_task if isinstance(ml_task, MlTask) else self.tasks[ml_task]
        if task.promoted is not None:
            raise TaskError(
                f"MlTask {task.name!r} has promoted={task.promoted!r}, a task that is not known here; its asset looks it up. "
                f"In Python, give sparktorch_assets.promote(champion, challenger) instead"
            )
        return task

    def bring_up_model(
        self, ml_task: MlTask | str, gpu: bool = True, gpu_device: int = 0, batch_size: int | None = None
    ) -> ModelObject:
        """Bring up the task's model object. Its `predict(rows)` is a generator that adds the task's output columns to
        each row.

        Args:
            ml_task: a task, or the name of a declared one.
            gpu: put the model on a GPU; if the loader's device is `auto`, on the CPU of a host without a GPU.
            gpu_device: the CUDA index of that GPU.
            batch_size: rows per forward pass, instead of the task's; `None` takes the task's, else 1,024.

        Raises:
            UnknownTaskError: no task has this name.
            DeviceError: the requested GPU does not exist.
            ModelError: the weights are missing, altered, refused, or do not fit; or a file of the model changed while
                it was being loaded.
        """
        import torch

        from sparktorch_assets.predict.batches.shared_limits import SharedLimits
        from sparktorch_assets.predict.model.torch_model import TorchModel

        loader, task = self.settled(ml_task)
        files = FilesInUse(task, loader.models_root)
        check_weights(task, loader.models_root)
        device = torch.device("cuda", gpu_device) if self._takes_gpu(gpu, gpu_device) else torch.device("cpu")
        with _naming_uncounted_files(task, loader.models_root):
            found = loader.load_module(task, device)
        files.check()  # the files that were loaded are those that were checked
        if not isinstance(found, torch.nn.Module):
            return found
        shared_by = loader.cache_key(task) or uuid.uuid4()
        return TorchModel(
            task,
            found,
            models_root=loader.models_root,
            device=device,
            batch_size=batch_size or (None if task.batch.pinned else DEFAULT_BATCH_SIZE),
            shared_limits=SharedLimits(digest_of([repr(shared_by), device.type])[:32]),
        )

    def load_module(self, task: MlTask, device: "torch.device") -> "torch.nn.Module | ModelObject":
        """Load the task's network onto `device`; a factory may return a model object instead.

        Raises:
            ModelError: it cannot be loaded.
        """
        import torch

        from sparktorch_assets.predict.model.formats.weights import load_module

        spec = task.model
        path = self.models_root / spec.weights if spec.weights else None
        if spec.factory is None:
            assert path is not None  # ModelSpec requires weights or a factory
            return load_module(spec, path, device, task.output)
        if path is not None:
            check_file(path)
        factory = load_import_path(spec.factory, "ModelSpec.factory")
        found: torch.nn.Module | ModelObject = factory(path, device, **dict(spec.arguments))
        return found.eval().to(device) if isinstance(found, torch.nn.Module) else found

    def describe(self, ml_task: MlTask | str) -> ModelDescription:
        """The model's digest, size and number of parameters; loads the model on the CPU to count them.

        Raises:
            HostError: this process has imported another version of the model's code than its files now contain.
        """
        import torch

        loader, task = self.settled(ml_task)
        files = FilesInUse(task, loader.models_root)
        check_weights(task, loader.models_root)
        path = loader.models_root / task.model.weights if task.model.weights else None
        code = task_code(task)
        check_code(code)
        digest = weights_sha256(task, loader.models_root) if path else model_digest(task, loader.models_root)
        found = None
        if task.model.format != "aotinductor":  # compiled for one kind of device, which this host may not have
            with _naming_uncounted_files(task, loader.models_root):
                found = loader.load_module(task, torch.device("cpu"))
        files.check()
        check_code(code)
        tensors = [*found.parameters(), *found.buffers()] if isinstance(found, torch.nn.Module) else None
        return ModelDescription(
            digest=digest,
            format=str(task.model.format),
            file_bytes=path.stat().st_size if path and path.is_file() else None,
            parameters=sum(tensor.numel() for tensor in tensors) if tensors else None,
        )

    def digest(self, ml_task: MlTask | str) -> str:
        """A hash of the loader's class name and state, and of the task's name and input, which are not part of the
        task's own digest but are visible to a subclass. Empty for a plain `ModelLoader`.

        The state is what `__getstate__` returns, without `models_root`, `tasks` and `device`: everything in `__dict__`,
        unless the class says otherwise.

        Raises:
            TaskError: workers cannot import the class by name, or its state holds a value that cannot be compared.
        """
        loader, task = self.settled(ml_task)
        state = plain_state(self._state(), self._where, loader.models_root)
        if type(self) is ModelLoader:
            return digest_of(state) if self._state() else ""
        return digest_of([self._import_path(), state, task.name, task.input])

    def code(self, ml_task: MlTask | str) -> dict[str, str]:
        """The user's code that a worker runs for the task, as digests per piece: the task's code, that of the loader's
        subclass, and that of the classes in its state; also the `code_version` that the task declares. `check_code`
        compares a process with it.

        Raises:
            TaskError: a module cannot be found.
            HostError: the class's code has changed since this process imported it.
        """
        _, task = self.settled(ml_task)
        pieces = task_code(task) | {task.name + DECLARED: task.code_version}
        if type(self) is not ModelLoader and self._has_name():
            own = import_path_code(self._import_path(), "model_loader")
            check_code(own)
            pieces |= own
        pieces |= code_of({kind.__module__ for kind in classes_in(self._state())})
        return dict(sorted(pieces.items()))

    def cache_key(self, ml_task: MlTask | str, code: Mapping[str, str] | None = None) -> Hashable | None:
        """The key under which a process caches the task's model object: tasks with equal keys share it. It covers the
        current files and code, and the declared model, features, labels, execution and kind of output; row filters, hooks,
        columns and the batch policy may differ. `None`, which means that nothing is shared, if arguments or the loader's state hold
        a value that cannot be compared. Cheap, since it does not read the weights.

        Args:
            ml_task: a task, or the name of a declared one.
            code: the result of `model_code` for the task, if it has been computed already.
        """
        loader, task = self.settled(ml_task)
        files = FilesInUse(task, loader.models_root).identities
        pieces = tuple(sorted((model_code(task) if code is None else code).items()))
        # A subclass gets the whole task and may read any part of it, but it does not see rows and batches.
        seen = () if type(self) is ModelLoader else (task.name, task.input, task.output_columns, task.code_version)
        # The kind of output decides which network of a folder is loaded, and whether encoders keep origins. A network that
        # writes text is brought up with the output's options as well.
        output = task.output if isinstance(task.output, GenerationOutput) else task.output.kind
        try:
            large = [declared_state(declaration) for declaration in (task.model, *task.features)]
            declared = plain_state([large, task.labels, task.execution, output, seen], task.name)
            state = plain_state(self._state(), self._where, loader.models_root)
        except TaskError:
            return None
        return type(self), repr(state), str(loader.models_root), files, pieces, repr(declared)

    @property
    def _where(self) -> str:
        return f"model_loader: {type(self).__qualname__}"

    def _state(self) -> Any:
        given: Any = self.__getstate__()  # type: ignore[no-untyped-call,unused-ignore]
        if isinstance(given, tuple):  # `__dict__`, and the values of `__slots__`
            given = {name: value for part in given if part for name, value in part.items()}
        if isinstance(given, dict):
            given = {name: value for name, value in given.items() if name not in _OWN_STATE}
        return given or None

    def _import_path(self) -> str:
        if not self._has_name():
            raise TaskError(
                f"model_loader: class {type(self).__qualname__} is defined in a function, a script or a notebook, so "
                f"its code has no name by which it can be compared. Put the class into a module that workers can import"
            )
        return f"{type(self).__module__}:{type(self).__qualname__}"

    def _has_name(self) -> bool:
        return "<locals>" not in type(self).__qualname__ and type(self).__module__ != "__main__"

    def _takes_gpu(self, gpu: bool, gpu_device: int) -> bool:
        if not gpu or self.device == "cpu":
            return False
        from sparktorch_assets.predict.model.device import gpus_visible

        gpus = gpus_visible()
        if gpu_device < gpus:
            return True
        if self.device == "auto" and not gpus:
            return False
        raise DeviceError(
            f"GPU {gpu_device} was requested, but torch sees {gpus} GPUs here; pass gpu=False, or create the loader "
            f"with device='auto' to use the CPU on hosts without a GPU"
        )


@contextmanager
def _naming_uncounted_files(task: MlTask, models_root: Path) -> Iterator[None]:
    """Warn of files under the models root that are opened inside the block but are not part of the model's digest.
    Code is exempt, since it has a digest of its own."""
    with opened_files() as opened:
        yield
    root = models_root.resolve()
    counted = {path.resolve() for path in model_files(task, models_root).values()}
    found = {Path(path).resolve() for path in opened if not path.endswith(_CODE) and not Path(path).is_dir()} - counted
    names = sorted(path.relative_to(root).as_posix() for path in found if path.is_relative_to(root))
    if names:
        _LOG.warning(
            "task %r: its factory or loader opens %s under %s, which the model's digest does not know: if that "
            "changes, nothing is scored again. List it in the model's `files: [%s]`",
            task.name,
            ", ".join(names),
            models_root,
            ", ".join(names),
        )

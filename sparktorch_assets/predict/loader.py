"""ModelLoader: finds a task's declaration and brings its model up on a device. Importing this does not load torch."""

import logging
import uuid
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparktorch_assets.errors import DeviceError, TaskError, UnknownTaskError, nearest
from sparktorch_assets.predict.model.opened_files import opened_files
from sparktorch_assets.predict.protocols import ModelObject
from sparktorch_assets.tasks.batch_policy import DEFAULT_BATCH_SIZE
from sparktorch_assets.tasks.code.import_path import import_path_code, load_import_path
from sparktorch_assets.tasks.code.imported_code import DECLARED, check_code
from sparktorch_assets.tasks.digest import code_of, digest_of, model_code, model_digest, task_code
from sparktorch_assets.tasks.files.completed_task import completed_task
from sparktorch_assets.tasks.files.model_files import FilesInUse, check_file, file_sha256, model_files
from sparktorch_assets.tasks.files.model_trust import check_weights
from sparktorch_assets.tasks.ml_task import MlTask
from sparktorch_assets.tasks.outputs import GenerationOutput
from sparktorch_assets.tasks.plain_state import classes_in, plain_state
from sparktorch_assets.tasks.slot_policy import DevicePolicy, check_device

if TYPE_CHECKING:
    import torch

_LOG = logging.getLogger(__name__)
_CODE = (".py", ".pyc", ".so")
_OWN_STATE = ("models_root", "tasks", "device")
"""Attributes of `ModelLoader` that its digest leaves out: paths, and declarations that have digests of their own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelDescription:
    """Properties of a model that are known without any rows."""

    digest: str
    """SHA-256 of the weights file; for a factory without one, of its code and arguments."""
    format: str
    file_bytes: int | None
    parameters: int | None
    """Number of parameters; `None` for a model object that is not a `torch.nn.Module`."""


class ModelLoader:
    """Brings up the models of declared tasks. Picklable, because Spark sends it to the workers.

    Subclass it to load models differently: override `load_module` for another file format or source, or
    `bring_up_model` to return any `ModelObject`. The instance state of a subclass may affect predictions,
    and is part of the fingerprints of prediction tables; see `digest`.

    Args:
        models_root: the folder that relative paths in tasks refer to; the same path on every worker.
        tasks: the tasks that can be requested by name.
        device: `auto` leaves the choice to `SlotPolicy.device` and, if that is `auto` as well, uses a GPU if there is
            one; `cuda` requires a GPU, `cpu` never uses one.
    """

    def __init__(
        self, models_root: str | Path = "data/models", tasks: Iterable[MlTask] = (), device: DevicePolicy = "auto"
    ) -> None:
        check_device(device, "ModelLoader.device")
        self.models_root = Path(models_root).absolute()
        self.tasks = {task.name: task for task in tasks}
        self.device: DevicePolicy = device

    def find_task(self, ml_task: MlTask | str) -> MlTask:
        """The task itself, or the declared task of this name; with a Hugging Face folder, completed by what the folder
        says: see `completed_task`.

        Raises:
            UnknownTaskError: no task has this name.
            ModelError: the task leaves something to a Hugging Face folder that is not there, or that does not say it.
        """
        if isinstance(ml_task, MlTask):
            return completed_task(ml_task, self.models_root)
        if ml_task not in self.tasks:
            raise UnknownTaskError(f"there is no ml_task {ml_task!r}; {nearest(ml_task, self.tasks)}")
        return completed_task(self.tasks[ml_task], self.models_root)

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

        task = self.find_task(ml_task)
        files = FilesInUse(task, self.models_root)
        check_weights(task, self.models_root)
        device = torch.device("cuda", gpu_device) if self._takes_gpu(gpu, gpu_device) else torch.device("cpu")
        with self._naming_uncounted_files(task):
            found = self.load_module(task, device)
        files.check()  # the files that were loaded are those that were checked
        if not isinstance(found, torch.nn.Module):
            return found
        shared_by = self.cache_key(task) or uuid.uuid4()
        return TorchModel(
            task,
            found,
            models_root=self.models_root,
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

        from sparktorch_assets.predict.model.weights import load_module

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

    @contextmanager
    def _naming_uncounted_files(self, task: MlTask) -> Iterator[None]:
        """Warn of files under the models root that are opened inside the block but are not part of the model's digest.
        Code is exempt, since it has a digest of its own."""
        with opened_files() as opened:
            yield
        root = self.models_root.resolve()
        counted = {path.resolve() for path in model_files(task, self.models_root).values()}
        found = {
            Path(path).resolve() for path in opened if not path.endswith(_CODE) and not Path(path).is_dir()
        } - counted
        names = sorted(path.relative_to(root).as_posix() for path in found if path.is_relative_to(root))
        if names:
            _LOG.warning(
                "task %r: its factory or loader opens %s under %s, which the model's digest does not know: if that "
                "changes, nothing is scored again. List it in the model's `files: [%s]`",
                task.name,
                ", ".join(names),
                self.models_root,
                ", ".join(names),
            )

    def describe(self, ml_task: MlTask | str) -> ModelDescription:
        """The model's digest, size and number of parameters; loads the model on the CPU to count them.

        Raises:
            HostError: this process has imported another version of the model's code than its files now contain.
        """
        import torch

        task = self.find_task(ml_task)
        files = FilesInUse(task, self.models_root)
        check_weights(task, self.models_root)
        path = self.models_root / task.model.weights if task.model.weights else None
        code = task_code(task)
        check_code(code)
        digest = file_sha256(path) if path else model_digest(task, self.models_root)
        with self._naming_uncounted_files(task):
            found = self.load_module(task, torch.device("cpu"))
        files.check()
        check_code(code)
        tensors = [*found.parameters(), *found.buffers()] if isinstance(found, torch.nn.Module) else None
        return ModelDescription(
            digest=digest,
            format=str(task.model.format),
            file_bytes=path.stat().st_size if path and path.is_file() else None,
            parameters=None if tensors is None else sum(tensor.numel() for tensor in tensors),
        )

    def digest(self, ml_task: MlTask | str) -> str:
        """A hash of the loader's class name and state, and of the task's name and input, which are not part of the
        task's own digest but are visible to a subclass. Empty for a plain `ModelLoader`.

        The state is what `__getstate__` returns, without `models_root`, `tasks` and `device`: everything in `__dict__`,
        unless the class says otherwise.

        Raises:
            TaskError: workers cannot import the class by name, or its state holds a value that cannot be compared.
        """
        task, state = self.find_task(ml_task), plain_state(self._state(), self._where, self.models_root)
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
        task = self.find_task(ml_task)
        pieces = task_code(task) | {task.name + DECLARED: task.code_version}
        if type(self) is not ModelLoader and self._has_name():
            own = import_path_code(self._import_path(), "model_loader")
            check_code(own)
            pieces |= own
        pieces |= code_of({kind.__module__ for kind in classes_in(self._state())})
        return dict(sorted(pieces.items()))

    def cache_key(self, ml_task: MlTask | str, code: Mapping[str, str] | None = None) -> Hashable | None:
        """The key under which a process caches the task's model object: tasks with equal keys share it. It covers the
        current files and code, and the declared model, features, labels and execution; row filters, hooks, columns and
        the batch policy may differ. `None`, which means that nothing is shared, if arguments or the loader's state hold
        a value that cannot be compared. Cheap, since it does not read the weights.

        Args:
            ml_task: a task, or the name of a declared one.
            code: the result of `model_code` for the task, if it has been computed already.
        """
        task = self.find_task(ml_task)
        files = FilesInUse(task, self.models_root).identities
        pieces = tuple(sorted((model_code(task) if code is None else code).items()))
        # A subclass gets the whole task and may read any part of it, but it does not see rows and batches.
        seen = () if type(self) is ModelLoader else (task.name, task.input, task.output_columns, task.code_version)
        # A network that writes text is brought up with the output's options.
        writes = task.output if isinstance(task.output, GenerationOutput) else ()
        try:
            declared = plain_state([task.model, task.features, task.labels, task.execution, writes, seen], task.name)
            state = plain_state(self._state(), self._where, self.models_root)
        except TaskError:
            return None
        return type(self), repr(state), str(self.models_root), files, pieces, repr(declared)

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

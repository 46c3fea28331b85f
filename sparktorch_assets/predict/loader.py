"""ModelLoader: finds a task's configuration and brings its model up on a device. Importing this loads no torch."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparktorch_assets.errors import DeviceError, ModelError, UnknownTaskError, nearest
from sparktorch_assets.tasks.batch_policy import DEFAULT_BATCH_SIZE
from sparktorch_assets.tasks.digest import check_sha256, digest_of, file_sha256, model_digest, task_digest
from sparktorch_assets.tasks.import_path import code_digest, load_import_path
from sparktorch_assets.tasks.ml_task import MlTask
from sparktorch_assets.tasks.slot_policy import DevicePolicy

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelDescription:
    """What can be said of a model without rows."""

    digest: str
    """sha256 of the weights file; of the code and arguments for a factory without one."""
    format: str
    file_bytes: int | None
    parameters: int | None
    """`None` for a model object that is no `torch.nn.Module`."""


class ModelLoader:
    """Brings the models of declared tasks up. Picklable: Spark sends it to the workers.

    Subclass it to load differently: override `load_module` for another file format or source, or `bring_up_model` to
    return any object with `predict(rows)`.

    Args:
        models_root: the folder that relative paths in tasks start at; the same path on every worker.
        tasks: the tasks that can be asked for by name.
        device: `auto` uses a GPU where there is one, `cuda` insists on it, `cpu` never does.
    """

    def __init__(
        self, models_root: str | Path = "data/models", tasks: Iterable[MlTask] = (), device: DevicePolicy = "auto"
    ) -> None:
        self.models_root = Path(models_root).absolute()
        self.tasks = {task.name: task for task in tasks}
        self.device: DevicePolicy = device

    def find_task(self, ml_task: MlTask | str) -> MlTask:
        """The task itself, or the declared one of this name.

        Raises:
            UnknownTaskError: no task has this name.
        """
        if isinstance(ml_task, MlTask):
            return ml_task
        if ml_task not in self.tasks:
            raise UnknownTaskError(f"there is no ml_task {ml_task!r}; {nearest(ml_task, self.tasks)}")
        return self.tasks[ml_task]

    def bring_up_model(
        self, ml_task: MlTask | str, gpu: bool = True, gpu_device: int = 0, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> Any:
        """The task's model object: it has `predict(rows)`, a generator that adds the task's output columns to each row.

        Args:
            ml_task: a task, or the name of a declared one.
            gpu: put the model on a GPU; with the loader's device `auto`, on the CPU where there is none.
            gpu_device: the CUDA index of that GPU.
            batch_size: rows a forward pass; the task's own batch policy goes before it.

        Raises:
            UnknownTaskError: no task has this name.
            DeviceError: the GPU that was asked for is not there.
            ModelError: the weights are missing, altered, refused, or do not fit.
        """
        import torch

        from sparktorch_assets.predict.memory import SharedCeilings
        from sparktorch_assets.predict.torch_model import TorchModel

        task = self.find_task(ml_task)
        check_sha256(task, self.models_root)
        device = torch.device("cuda", gpu_device) if self._takes_gpu(gpu, gpu_device) else torch.device("cpu")
        found = self.load_module(task, device)
        if not isinstance(found, torch.nn.Module):
            return found
        return TorchModel(
            task,
            found,
            models_root=self.models_root,
            device=device,
            batch_size=None if task.batch.pinned else batch_size,
            ceilings=SharedCeilings(digest_of([repr(self.cache_key(task)), device.type])[:32]),
        )

    def load_module(self, task: MlTask, device: "torch.device") -> Any:
        """The network of the task, on `device`; or, from a factory, whatever model object that returns.

        Raises:
            ModelError: it cannot be loaded.
        """
        import torch

        from sparktorch_assets.predict.formats import load_module

        spec = task.model
        path = self.models_root / spec.weights if spec.weights else None
        if spec.factory is None:
            assert path is not None  # ModelSpec asks for weights or a factory
            return load_module(spec, path, device)
        if path is not None and not path.exists():
            raise ModelError(f"task {task.name!r}: there is no weights file {path} for factory {spec.factory!r}")
        found = load_import_path(spec.factory, "ModelSpec.factory")(path, device, **dict(spec.arguments))
        return found.eval().to(device) if isinstance(found, torch.nn.Module) else found

    def describe(self, ml_task: MlTask | str) -> ModelDescription:
        """The model's digest, size and number of parameters; brings it up on the CPU to count them."""
        import torch

        task = self.find_task(ml_task)
        path = self.models_root / task.model.weights if task.model.weights else None
        digest = file_sha256(path) if path else model_digest(task, self.models_root)
        found = self.load_module(task, torch.device("cpu"))
        tensors = [*found.parameters(), *found.buffers()] if isinstance(found, torch.nn.Module) else None
        return ModelDescription(
            digest=digest,
            format=str(task.model.format),
            file_bytes=path.stat().st_size if path else None,
            parameters=None if tensors is None else sum(tensor.numel() for tensor in tensors),
        )

    def cache_key(self, ml_task: MlTask | str) -> Hashable:
        """What two tasks share when they can share one model object in a process: files and code as they are now, and
        the declaration. Cheap: weights are not read."""
        task = self.find_task(ml_task)
        files = []
        for path in task.files:
            full = self.models_root / path
            status = full.stat() if full.exists() else None
            files.append((str(full), status and status.st_size, status and status.st_mtime_ns))
        spec = task.model
        paths = [spec.architecture, spec.factory, *(item.encoder for item in task.features if item.kind == "custom")]
        code = tuple(code_digest(path, "ModelSpec") for path in paths if path is not None)
        return type(self).__qualname__, tuple(files), code, repr(spec), task_digest(task)

    def _takes_gpu(self, gpu: bool, gpu_device: int) -> bool:
        if not gpu or self.device == "cpu":
            return False
        from sparktorch_assets.predict.device import gpus_visible

        gpus = gpus_visible()
        if gpu_device < gpus:
            return True
        if self.device == "auto" and not gpus:
            return False
        raise DeviceError(
            f"GPU {gpu_device} was asked for, but torch sees {gpus} here; pass gpu=False, or make the loader with "
            f"device='auto' to use the CPU where there is no GPU"
        )

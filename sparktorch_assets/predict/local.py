"""LocalPredictor: the model instance of one slot, in this process and on the slot's device. Importing this does not
load torch."""

import os
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from sparktorch_assets.errors import HostError, TaskError
from sparktorch_assets.predict.device_failure import device_errors
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.model.cache import cached_model, drop_models_on_gpus
from sparktorch_assets.predict.model.device import choose_device
from sparktorch_assets.predict.model.user_model import UserModel
from sparktorch_assets.predict.protocols import ModelObject
from sparktorch_assets.predict.windowed_model import WindowedModel
from sparktorch_assets.tasks.batch_policy import DEFAULT_BATCH_SIZE
from sparktorch_assets.tasks.code.imported_code import check_code
from sparktorch_assets.tasks.digest import model_code
from sparktorch_assets.tasks.features.text import BYTES_TOKENIZER
from sparktorch_assets.tasks.files.model_files import FilesInUse
from sparktorch_assets.tasks.ml_task import MlTask
from sparktorch_assets.tasks.slot_policy import SlotPolicy, settle_device


class LocalPredictor:
    """Chooses the device of a slot and brings the task's model up there, once per process: later instances with the
    same task and device find the model in the cache. Call `close` when its work is done.

    Args:
        ml_task: the task, or the name of one that the loader knows.
        batch_size: rows per forward pass; `None` uses the task's policy or, if that sets no size, the size found to be
            fastest on the first rows (1,024 for a user's own model object, fewer if its rows keep failing).
        partition_index: the number of the partition; it spreads slots over GPUs if neither Spark nor a lease assigns
            one.
        model_loader: brings the model up.
        slots: the device policy and the number of models per GPU; see `settle_device`.
        concurrent_slots: number of slots that work on this host at once; each gets `cores / concurrent_slots` CPU
            threads.
        gpu_addresses: the GPU addresses that Spark assigned to the task.
        waits_for_gpu: whether to wait until another process is done, if each of the host's GPUs has `models_per_gpu`
            models at work already and Spark assigns none. Not if another process waits for this one's predictions.

    Raises:
        UnknownTaskError, ModelError, DeviceError: as raised by `ModelLoader.bring_up_model`.
        TaskError: `batch_size` is not positive, or `slots` and `model_loader` name different devices.
        HostError: the model's code changed while it was being imported.
    """

    def __init__(
        self,
        ml_task: MlTask | str,
        batch_size: int | None = None,
        partition_index: int = 0,
        *,
        model_loader: ModelLoader | None = None,
        slots: SlotPolicy | None = None,
        concurrent_slots: int = 1,
        gpu_addresses: Sequence[str] = (),
        waits_for_gpu: bool = False,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise TaskError(f"batch_size={batch_size!r} must be a whole number above 0")
        from sparktorch_assets.predict.model.torch_model import TorchModel  # before the clock starts: it loads torch

        started = time.perf_counter()
        loader, self.task = (model_loader or ModelLoader()).settled(ml_task)
        policy = settle_device(slots, loader.device)
        self.batch_size = batch_size
        chosen = choose_device(
            # Who counts on GPUs that Spark does not know of would not want their work to be done on a CPU.
            "cuda" if policy.device == "auto" and policy.gpus_per_worker else policy.device,
            models_per_gpu=policy.models_per_gpu,
            partition_index=partition_index,
            addresses=gpu_addresses,
            wait=waits_for_gpu,
        )
        # Also when nobody calls `close`: other processes may wait for the lease.
        self._closing = weakref.finalize(self, chosen.lease.release if chosen.lease else _nothing)
        self._closing.atexit = False
        gpu, self.device = chosen.gpu, str(chosen)
        if gpu is None:
            _share_cores(concurrent_slots)
        else:
            drop_models_on_gpus(but_on=self.device)  # on the others, they would be one more than a GPU has slots
        self.files = FilesInUse(self.task, loader.models_root)
        """The model's files at the time when it was brought up; call `check` after the last row."""
        code = model_code(self.task)
        # The key describes the code in the files: a model of another version, imported earlier, must not be cached
        # under it.
        shared_by = loader.cache_key(self.task, code) if _runs(code) else None
        key = None if shared_by is None else (shared_by, self.device)

        def bring_up() -> ModelObject:
            rows = batch_size or self.task.batch.batch_size or DEFAULT_BATCH_SIZE
            model = loader.bring_up_model(self.task, gpu is not None, gpu or 0, rows)
            self.files.check()  # otherwise a model of new files would be cached under the old files' key
            if key is not None:
                check_code(code)
            return model

        try:
            with device_errors():
                self.model = cached_model(key, bring_up)
        except BaseException:
            self.close()
            raise
        if isinstance(self.model, TorchModel):  # a user's loader may have put it elsewhere
            self.device = str(self.model.device)
        self.overlaps = gpu is not None or _reads_files(self.task) or (_threads() > 1 and _encodes_long(self.task))
        """Whether encoding, forward passes and writing run concurrently. On the CPU, only work that waits or releases the
        GIL gains from it; for plain columns, it takes 1.5 times as long (benchmarks/LOG.md)."""
        self.load_s = time.perf_counter() - started

    def close(self) -> None:
        """Declare that this predictor's work is done. Its model stays in the cache, unless a process waits for its GPU:
        that gets the lease, and the memory as well."""
        vars(self).pop("model", None)  # the memory of a model that is still referred to cannot be returned
        self._closing()

    def for_run(self) -> WindowedModel[Any, Any]:
        """The model for one run in windows of columns. What it passes from `prepare` to `start` and from there to
        `finish` is its own affair."""
        from sparktorch_assets.predict.model.torch_model import TorchModel

        if isinstance(self.model, TorchModel):
            return self.model.for_run(self.task, self.batch_size)
        return UserModel(self.task, self.model, self.batch_size or self.task.batch.batch_size)


def _nothing() -> None:
    """Nobody waits for a CPU, or for a GPU that Spark assigns."""


def _runs(code: Mapping[str, str]) -> bool:
    """Whether the code that this process has imported so far is of these versions."""
    try:
        check_code(code)
    except HostError:
        return False
    return True


def _share_cores(concurrent_slots: int) -> None:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, cores // max(1, concurrent_slots))
    torch.set_num_threads(threads)
    if threads < cores:  # read once by `tokenizers`, which otherwise starts a thread per core in every slot
        os.environ.setdefault("RAYON_NUM_THREADS", str(threads))


def _encodes_long(task: MlTask) -> bool:
    return any(
        feature.kind in ("image", "audio") or (feature.kind == "text" and feature.tokenizer != BYTES_TOKENIZER)
        for feature in task.features
    )


def _reads_files(task: MlTask) -> bool:
    """Whether the files of the next windows are read while the network computes."""
    return any(feature.kind in ("image", "audio") and feature.read == "uri" for feature in task.features)


def _threads() -> int:
    import torch

    return torch.get_num_threads()

"""Leases: the right of a process to compute on a GPU, where Spark does not assign one.

Every GPU of a host has `models_per_gpu` leases, which all processes of one user share, whatever job or session they belong
to. A lease is a locked file. The kernel releases the lock when the process ends, so a killed worker leaves nothing behind.
A process that finds no free lease waits for one if nothing waits for that process in turn.
"""

import fcntl
import logging
import os
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from sparktorch_assets.predict.model.cache import drop_models_on_gpus
from sparktorch_assets.private_folder import PrivateFolder

_LOG = logging.getLogger(__name__)
_LOOK_S = 0.1
_SAY_AFTER_S = 10.0
_SAY_AGAIN_S = 300.0
_WAITING = "waiting.lock"
"""Locked, in shared mode, by those who wait for a lease."""

_lock = threading.RLock()
_held: "list[GpuLease]" = []
"""The lease of this process, which is one slot: whatever it computes at the same time shares the lease."""
_last_gpu: list[str] = []
"""The GPU on which this process has computed before, and may still have models."""


class GpuLease:
    """A lease that this process holds. It ends with as many calls of `release` as it was taken, or with the process.

    Attributes:
        gpu: the CUDA index of the GPU.
        name: the GPU's unique name.
    """

    def __init__(self, gpu: int, name: str, file: IO[bytes], folder: PrivateFolder) -> None:
        self.gpu, self.name = gpu, name
        self._file, self._folder = file, folder
        self._users = 1
        self._process = os.getpid()

    def share(self) -> "GpuLease":
        """The same lease, for one more user in this process."""
        self._users += 1
        return self

    def release(self) -> None:
        """End one use of the lease. With the last one, others can have it; if one waits, it gets the memory as well."""
        with _lock:
            self._users -= 1
            if self._users or self._process != os.getpid():  # a forked process would release its parent's lease
                return
            _held.clear()
            if _somebody_waits(self._folder):
                drop_models_on_gpus()
            self._file.close()


def take_lease(names: Sequence[str], models_per_gpu: int, folder: Path, *, wait: bool) -> GpuLease | None:
    """Take a lease of the GPU with the fewest leases taken. A process that holds one already shares it with itself.

    Args:
        names: the unique name of the GPU with each CUDA index.
        models_per_gpu: number of leases per GPU.
        folder: the folder of the lock files.
        wait: whether to wait until a lease is free. Two processes of which one predicts what the other reads would wait
            for each other for ever.

    Returns:
        The lease; `None` if none is free and it does not wait, or if the folder cannot be used.
    """
    leases = PrivateFolder(folder)
    with _lock:
        if _held:
            return _held[0].share()
        try:
            lease = _free_lease(names, models_per_gpu, leases)
            if lease is None and wait:
                lease = _awaited_lease(names, models_per_gpu, leases)
        except OSError:  # the folder cannot be trusted, or its disk is full
            return None
        if lease is None:
            return None
        _held.append(lease)
        _last_gpu[:] = [lease.name]
        return lease


def _free_lease(names: Sequence[str], models_per_gpu: int, leases: PrivateFolder) -> GpuLease | None:
    # The models of the GPU that this process used before are still there.
    by_preference = sorted(range(len(names)), key=lambda gpu: names[gpu] not in _last_gpu)
    for place in range(models_per_gpu):  # the first place of every GPU, then the second: breadth first
        for gpu in by_preference:
            file = leases.open_lock(_file_name(names[gpu], place))  # stays open as long as the lease is held
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                continue
            file.truncate(0)
            file.write(str(os.getpid()).encode())
            file.flush()
            return GpuLease(gpu, names[gpu], file, leases)
    return None


def _awaited_lease(names: Sequence[str], models_per_gpu: int, leases: PrivateFolder) -> GpuLease:
    say_at = time.monotonic() + _SAY_AFTER_S
    with leases.open_lock(_WAITING) as waiting:
        fcntl.flock(waiting, fcntl.LOCK_SH)
        while (lease := _free_lease(names, models_per_gpu, leases)) is None:
            if time.monotonic() >= say_at:
                say_at += _SAY_AGAIN_S
                _LOG.warning(
                    "process %d waits for a GPU: %d models at once compute on each of %d GPUs, in processes %s",
                    os.getpid(), models_per_gpu, len(names), ", ".join(_holders(names, models_per_gpu, leases)),
                )  # fmt: skip
            time.sleep(_LOOK_S)
        return lease


def _somebody_waits(leases: PrivateFolder) -> bool:
    try:
        with leases.open_lock(_WAITING) as waiting:
            fcntl.flock(waiting, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _holders(names: Sequence[str], models_per_gpu: int, leases: PrivateFolder) -> list[str]:
    files = [_file_name(name, place) for name in names for place in range(models_per_gpu)]
    return [leases.read(file).decode(errors="replace") for file in files]


def _file_name(gpu: str, place: int) -> str:
    return f"gpu-{re.sub(r'[^A-Za-z0-9-]', '_', gpu)}-{place}.lock"

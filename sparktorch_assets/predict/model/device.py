"""Chooses the device of a slot's model instance.

On a GPU host, the first of these that applies: the address that Spark assigned to the task, a lease that this process
holds on the host, the partition's number modulo the number of GPUs. A lease is a locked file. The kernel releases the
lock when the process ends, so a killed worker leaves nothing behind.
"""

import fcntl
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from sparktorch_assets.errors import DeviceError
from sparktorch_assets.private_folder import PrivateFolder
from sparktorch_assets.tasks.slot_policy import DevicePolicy

_held: dict[tuple[int, int], IO[bytes]] = {}


def gpus_visible() -> int:
    """Number of CUDA devices that this process can use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def choose_gpu(
    policy: DevicePolicy,
    *,
    gpus: int,
    models_per_gpu: int,
    partition_index: int,
    addresses: Sequence[str] = (),
    leases: Path | None = None,
) -> int | None:
    """The CUDA index of this slot's GPU, or `None` for the CPU.

    Args:
        policy: `cpu` never takes a GPU, `auto` takes one if there is one, `cuda` requires one.
        gpus: number of CUDA devices that this process can use.
        models_per_gpu: number of leases per GPU.
        addresses: GPU addresses that Spark assigned to the task (`TaskContext.resources()`).
        leases: the folder of the lock files, shared by all processes of the host; by default, one folder per user.

    Raises:
        DeviceError: a GPU is required, or was assigned by Spark, but does not exist here.
    """
    if policy == "cpu" or (policy == "auto" and not gpus and not addresses):
        return None
    if not gpus:
        raise DeviceError(
            "the device policy asks for a GPU, but torch sees none here: check nvidia-smi, CUDA_VISIBLE_DEVICES and "
            "that torch is a CUDA build, or set device: auto to use the CPU on hosts without a GPU"
        )
    if addresses:
        return visible_index(addresses[0], os.environ.get("CUDA_VISIBLE_DEVICES"), gpus)
    leased = lease_gpu(gpus, models_per_gpu, leases or Path(tempfile.gettempdir()) / f"sparktorch-gpu-{os.getuid()}")
    return partition_index % gpus if leased is None else leased


def visible_index(address: str, visible: str | None, gpus: int) -> int:
    """The CUDA index of the GPU that Spark calls `address`.

    `CUDA_VISIBLE_DEVICES` renumbers the devices: with "2,3", the host's GPU 3 has CUDA index 1. An address that is not
    in the list but is a valid index already refers to the list (as on Kubernetes).

    Raises:
        DeviceError: no visible device has this address.
    """
    listed = [entry.strip() for entry in visible.split(",")] if visible else [str(gpu) for gpu in range(gpus)]
    if address in listed:
        return listed.index(address)
    if address.isdecimal() and int(address) < gpus:
        return int(address)
    raise DeviceError(
        f"Spark assigned GPU {address!r} to the task, but this worker sees only {', '.join(listed)} "
        f"(CUDA_VISIBLE_DEVICES={visible!r}); make the worker's discovery script and that variable agree"
    )


def lease_gpu(gpus: int, models_per_gpu: int, folder: Path) -> int | None:
    """Take a free lease for the lifetime of this process, on the GPU with the fewest leases taken; `None` if all are
    taken or `folder` cannot be used. A process that already holds a lease keeps it."""
    if _held:
        return next(iter(_held))[0]
    leases = PrivateFolder(folder)
    for place in range(models_per_gpu):  # the first place of every GPU, then the second: breadth first
        for gpu in range(gpus):
            try:
                file = leases.open_lock(f"gpu-{gpu}-{place}.lock")  # stays open for the lifetime of the process
            except OSError:  # the folder cannot be trusted or is full: slots are spread by partition number
                return None
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
            else:
                _held[gpu, place] = file
                return gpu
    return None

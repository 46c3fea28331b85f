"""Chooses the device of a slot's model instance.

On a GPU host, the first of these that applies: the address that Spark assigned to the task, a lease that this process
holds on the host (`gpu_lease.py`), the partition's number modulo the number of GPUs.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sparktorch_assets.errors import DeviceError
from sparktorch_assets.nvidia_gpus import Gpu, present_gpus, unique_names, uuid_of
from sparktorch_assets.predict.model.gpu_lease import GpuLease, take_lease
from sparktorch_assets.tasks.slot_policy import DevicePolicy

_MIG = "MIG-"
_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, kw_only=True, slots=True)
class ChosenDevice:
    """The device of a slot."""

    gpu: int | None = None
    """The CUDA index of its GPU; `None` for the CPU."""
    lease: GpuLease | None = None
    """The lease, if the GPU is not Spark's choice. Release it when the slot's work is done."""

    def __str__(self) -> str:
        return "cpu" if self.gpu is None else f"cuda:{self.gpu}"


def gpus_visible() -> int:
    """Number of CUDA devices that this process can use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def choose_device(
    policy: DevicePolicy,
    *,
    models_per_gpu: int,
    partition_index: int,
    addresses: Sequence[str] = (),
    leases: Path | None = None,
    wait: bool = False,
) -> ChosenDevice:
    """The device of this slot.

    Args:
        policy: `cpu` never takes a GPU, `auto` takes one if there is one, `cuda` requires one.
        models_per_gpu: number of leases per GPU.
        partition_index: spreads slots over GPUs if there are no leases.
        addresses: GPU addresses that Spark assigned to the task (`TaskContext.resources()`).
        leases: the folder of the lock files, shared by all processes of the host; by default, one folder per user.
        wait: whether to wait for a lease if all are taken, instead of having one more model on a GPU.

    Raises:
        DeviceError: a GPU is required, or was assigned by Spark, but does not exist here.
    """
    if policy == "cpu":
        return ChosenDevice()
    if addresses and addresses[0].startswith(_MIG):
        show_only(addresses[0])
    gpus = gpus_visible()
    if addresses and not gpus:
        raise DeviceError(
            f"Spark assigned GPU {addresses[0]!r} to the task, but torch sees no GPU here: check nvidia-smi, "
            f"CUDA_VISIBLE_DEVICES and that torch is a CUDA build"
        )
    if not gpus:
        if policy == "auto":
            return ChosenDevice()
        raise DeviceError(
            "the device policy asks for a GPU, but torch sees none here: check nvidia-smi, CUDA_VISIBLE_DEVICES and "
            "that torch is a CUDA build, or set device: auto to use the CPU on hosts without a GPU"
        )
    if addresses:
        visible = os.environ.get(_VISIBLE)
        return ChosenDevice(gpu=visible_index(addresses[0], visible, gpus, _present_once()))
    folder = leases or Path(tempfile.gettempdir()) / f"sparktorch-gpu-{os.getuid()}"
    lease = take_lease(unique_names(gpus, _present_once()), models_per_gpu, folder, wait=wait)
    return ChosenDevice(gpu=partition_index % gpus if lease is None else lease.gpu, lease=lease)


def visible_index(address: str, visible: str | None, gpus: int, present: tuple[Gpu, ...] = ()) -> int:
    """The CUDA index of the GPU that Spark calls `address`.

    `CUDA_VISIBLE_DEVICES` renumbers the devices: with "2,3", the host's GPU 3 has CUDA index 1. It may list UUIDs, or
    their first characters, and so may Spark. An address that is not in the list but is a valid index already refers to
    the list (as on Kubernetes).

    Args:
        address: a number or a UUID.
        visible: the value of `CUDA_VISIBLE_DEVICES`.
        gpus: number of CUDA devices that this process can use.
        present: the host's GPUs, which relate numbers to UUIDs.

    Raises:
        DeviceError: no visible device has this address.
    """
    listed = [entry.strip() for entry in visible.split(",")][:gpus] if visible else [str(gpu) for gpu in range(gpus)]
    if address in listed:
        return listed.index(address)
    uuid = uuid_of(address, present)
    named = [uuid_of(entry, present) for entry in listed]
    if uuid and uuid in named:
        return named.index(uuid)
    if address.isdecimal() and int(address) < gpus:
        return int(address)
    raise DeviceError(
        f"Spark assigned GPU {address!r} to the task, but this worker sees only {', '.join(listed)} "
        f"(CUDA_VISIBLE_DEVICES={visible!r}); make the worker's discovery script and that variable agree"
    )


def show_only(instance: str) -> None:
    """Make CUDA show this MIG instance, of which it shows one per process, as the only device. This has to happen before
    CUDA starts.

    Raises:
        DeviceError: this process has started CUDA with another device.
    """
    import torch

    if os.environ.get(_VISIBLE) == instance:
        return
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    if started or os.environ.get(_VISIBLE, "").startswith(_MIG):
        raise DeviceError(
            f"Spark assigned {instance!r} to the task, but this worker process computes on "
            f"{os.environ.get(_VISIBLE, 'another device')} already, and CUDA shows one MIG instance per process: set "
            f"spark.python.worker.reuse=false, so that each task gets a process of its own"
        )
    os.environ[_VISIBLE] = instance


@cache
def _present_once() -> tuple[Gpu, ...]:
    return present_gpus()

"""Slots: how many model instances work at once, and on what. A slot is one model instance at work."""

from dataclasses import dataclass, replace
from typing import Literal

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.validation import positive

DevicePolicy = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotPolicy:
    """`models_per_gpu x GPUs x workers` slots on GPUs, or one slot a core without them."""

    device: DevicePolicy = "auto"
    """`auto`: what the model loader's `device` says and, where that is `auto` too, a GPU where there is one, else the cores.
    `cuda`: a GPU or an error. `cpu`: never a GPU."""
    models_per_gpu: int = 2
    """Model instances on each GPU: while one copies, the other computes."""
    gpus_per_worker: int | None = None
    """GPUs on each Spark worker; `None` takes `spark.executor.resource.gpu.amount`, in local mode this host's GPUs. Set it
    where workers have GPUs that Spark does not schedule."""
    workers: int | None = None
    """Spark workers (executors); `None` takes what Spark is configured for or, where that does not say, what has
    registered."""
    slots: int | None = None
    """The number itself, whatever the rest says."""

    def __post_init__(self) -> None:
        check_device(self.device, "SlotPolicy.device")
        check_fields(self)
        for field in ("models_per_gpu", "workers", "slots"):
            positive(getattr(self, field), f"SlotPolicy.{field}")
        if self.gpus_per_worker is not None and self.gpus_per_worker < 0:
            raise TaskError(f"SlotPolicy.gpus_per_worker={self.gpus_per_worker}; a count cannot be below 0")


def check_device(device: object, field: str) -> None:
    """Raise TaskError unless `device` is a DevicePolicy."""
    if not isinstance(device, str) or device not in ("auto", "cpu", "cuda"):
        raise TaskError(f"{field}={device!r}; choose auto, cpu or cuda")


def settle_device(slots: SlotPolicy | None, loader_device: DevicePolicy) -> SlotPolicy:
    """The slots of a call with the device that they and the model loader agree on: `auto` yields to what the other says.

    Raises:
        TaskError: one says `cpu` and the other `cuda`.
    """
    check_device(loader_device, "ModelLoader.device")
    if slots is None:
        return SlotPolicy(device=loader_device)
    if "auto" not in (slots.device, loader_device) and slots.device != loader_device:
        raise TaskError(
            f"SlotPolicy.device={slots.device!r}, but ModelLoader.device={loader_device!r}: both name the device that the "
            f"model computes on. Give one of them, and leave the other at 'auto'"
        )
    return replace(slots, device=loader_device) if slots.device == "auto" else slots

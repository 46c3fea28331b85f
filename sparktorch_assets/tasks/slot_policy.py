"""Slots: how many model instances work at once, and on which device. A slot is one model instance at work."""

from dataclasses import dataclass, replace
from typing import Literal

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.validation import positive

DevicePolicy = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotPolicy:
    """`models_per_gpu x GPUs x workers` slots on GPUs, or one slot per core without GPUs."""

    device: DevicePolicy = "auto"
    """`auto`: the model loader's `device`; if that is `auto` too, a GPU if there is one, else the CPU. `cuda`: a GPU,
    or an error. `cpu`: never a GPU."""
    models_per_gpu: int = 2
    """Model instances per GPU: while one copies, another computes."""
    gpus_per_worker: int | None = None
    """GPUs per Spark worker; `None` takes `spark.executor.resource.gpu.amount` or, in local mode, this host's GPUs. Set
    it if workers have GPUs that Spark does not schedule."""
    workers: int | None = None
    """Number of Spark workers (executors); `None` takes it from Spark's configuration or, if that does not say, counts
    those that have registered."""
    slots: int | None = None
    """The number of slots itself; overrides the other fields."""

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
    """The slot policy of a call, with the device that it and the model loader agree on: `auto` yields to the other's
    value.

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

"""Slots: how many model instances work at once, and on what. A slot is one model instance at work."""

from dataclasses import dataclass
from typing import Literal

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.plain import positive

DevicePolicy = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotPolicy:
    """`models_per_gpu x GPUs x workers` slots on GPUs, or one slot a core without them."""

    device: DevicePolicy = "auto"
    """`auto`: a GPU where there is one, else the cores. `cuda`: a GPU or an error. `cpu`: never a GPU."""
    models_per_gpu: int = 2
    """Model instances on each GPU: while one copies, the other computes."""
    gpus_per_worker: int | None = None
    """GPUs on each Spark worker; `None` asks Spark, then counts the driver's own."""
    workers: int | None = None
    """Spark workers (executors); `None` asks Spark."""
    slots: int | None = None
    """The number itself, whatever the rest says."""

    def __post_init__(self) -> None:
        if self.device not in ("auto", "cpu", "cuda"):
            raise TaskError(f"SlotPolicy.device={self.device!r}; choose auto, cpu or cuda")
        positive(self.models_per_gpu, "SlotPolicy.models_per_gpu")
        for field in ("workers", "slots"):
            if getattr(self, field) is not None:
                positive(getattr(self, field), f"SlotPolicy.{field}")
        if self.gpus_per_worker is not None and self.gpus_per_worker < 0:
            raise TaskError(f"SlotPolicy.gpus_per_worker={self.gpus_per_worker}; a count cannot be below 0")

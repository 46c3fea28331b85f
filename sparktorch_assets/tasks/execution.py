"""In which precision, and compiled or not, a task's network runs."""

from dataclasses import dataclass
from typing import Literal

from sparktorch_assets.errors import TaskError, nearest

Precision = Literal["fp32", "bf16", "fp16", "int8-dynamic"]
Compile = Literal["none", "torch.compile"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """How the network runs. Anything but `fp32` is compared with it on the first rows, and the outcome reported."""

    precision: Precision = "fp32"
    """`int8-dynamic` quantizes the weights of linear layers (CPU only, not compiled)."""
    compile: Compile = "none"
    """`torch.compile` pays from tens of seconds of forward passes on; batches are padded to a few fixed shapes."""
    channels_last: bool = False
    """The memory format that convolutions like, on GPUs and with bf16."""
    min_agreement: float | None = None
    """Refuse to run where a smaller share of the first rows gets the class that fp32 gives."""

    def __post_init__(self) -> None:
        for field, known in (
            ("precision", ("fp32", "bf16", "fp16", "int8-dynamic")),
            ("compile", ("none", "torch.compile")),
        ):
            value = getattr(self, field)
            if value not in known:
                raise TaskError(f"Execution.{field}={value!r}; {nearest(str(value), known)}")
        if self.precision == "int8-dynamic" and self.compile != "none":
            raise TaskError(
                "Execution.precision='int8-dynamic' does not go with compile='torch.compile': its kernels are fixed; set "
                "compile='none', or compile another precision"
            )
        if self.min_agreement is not None and not 0 <= self.min_agreement <= 1:
            raise TaskError(f"Execution.min_agreement={self.min_agreement!r} must lie in [0, 1]")

"""How a task's network runs: its precision, and whether it is compiled."""

from dataclasses import dataclass
from typing import Literal

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.validation import share

Precision = Literal["fp32", "bf16", "fp16", "int8-dynamic"]
Compile = Literal["none", "torch.compile"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """How the network runs. Any other precision than `fp32` is compared with it on the first rows, and the result
    reported."""

    precision: Precision = "fp32"
    """`int8-dynamic` quantizes the weights of linear layers (CPU only, not compiled)."""
    compile: Compile = "none"
    """`torch.compile` pays off after tens of seconds of forward passes; batches are padded to a few fixed shapes."""
    channels_last: bool = False
    """Use the channels-last memory format, in which convolutions are faster on GPUs and with bf16."""
    min_agreement: float | None = None
    """Refuse to run if a smaller share of the first rows than this gets the same class as with fp32."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.precision == "int8-dynamic" and self.compile != "none":
            raise TaskError(
                "Execution.precision='int8-dynamic' does not go with compile='torch.compile': its kernels are fixed; set "
                "compile='none', or compile another precision"
            )
        share(self.min_agreement, "Execution.min_agreement")

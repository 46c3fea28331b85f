"""Converts a network to another precision, and measures how that changes its predictions."""

import copy
import warnings

import torch

from sparktorch_assets.errors import ModelError
from sparktorch_assets.tasks.execution import Execution

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

COMPARED_ROWS = 256
"""Number of rows of each run that are compared with fp32, so that no run goes on without a comparison."""


class Comparison:
    """Compares a run's first predictions with those of fp32."""

    def __init__(self) -> None:
        self.rows = 0
        """Number of rows compared, without those for which neither precision gives a finite result."""
        self.same = 0
        """Number of compared rows with the same prediction in both precisions."""
        self.difference = 0.0
        """The largest difference between a row's two predictions, such as their confidences."""
        self.open = True
        """Whether more rows are to be compared."""

    @property
    def share(self) -> float:
        """The fraction of compared rows with the same prediction."""
        return self.same / self.rows if self.rows else 1.0

    def add(self, finite_B: torch.Tensor, same_B: torch.Tensor, difference_B: torch.Tensor) -> None:
        """Count rows as `Decoder.compare` describes them."""
        self.rows += int(finite_B.sum())
        self.same += int(same_B.sum())
        self.difference = max([self.difference, *difference_B.tolist()])
        self.open = self.rows < COMPARED_ROWS

    def fails(self, floor: float | None, *, now: bool = False) -> bool:
        """Whether the share is bound to end below `floor`, whatever the remaining rows give; with `now`, whether it is
        below `floor` for the rows compared so far."""
        rows = max(self.rows, COMPARED_ROWS) if self.open and not now else self.rows
        return floor is not None and rows > 0 and (self.same + rows - self.rows) / rows < floor


def convert(module: torch.nn.Module, execution: Execution, device: torch.device) -> torch.nn.Module:
    """Convert the network to the task's precision, memory format and compilation. `module` itself keeps its weights,
    but is changed to the memory format.

    Raises:
        ModelError: the precision is not available on this device.
    """
    if execution.channels_last:
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if execution.precision == "int8-dynamic":
        if device.type != "cpu":
            raise ModelError(f"precision int8-dynamic runs only on the CPU, not on {device}; use bf16 or fp16 there")
        with warnings.catch_warnings():  # torch announces a successor in a separate package, torchao
            warnings.simplefilter("ignore")
            converted: torch.nn.Module = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
                module, {torch.nn.Linear, torch.nn.LSTM, torch.nn.GRU}, dtype=torch.qint8
            )
        return converted
    dtype = _DTYPES.get(execution.precision)
    if dtype is not None:
        module = copy.deepcopy(module).to(dtype)
    if execution.compile == "torch.compile":
        compiled: torch.nn.Module = torch.compile(module, dynamic=False)  # type: ignore[assignment]
        return compiled
    return module


def input_dtype(execution: Execution) -> torch.dtype | None:
    """The dtype to which floating-point inputs are cast; `None` if they are not."""
    return _DTYPES.get(execution.precision)

"""A network in another precision, and what that changes in its answers."""

import copy
import warnings
from dataclasses import dataclass

import torch

from sparktorch_assets.errors import ModelError
from sparktorch_assets.tasks.execution import Execution

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

COMPARED_ROWS = 256


@dataclass(frozen=True, slots=True)
class Agreement:
    """Answers against fp32's, over the first rows."""

    rows: int
    share: float
    """Rows with the same class."""
    confidence_difference: float
    """The largest difference of a row's confidence."""


def convert(module: torch.nn.Module, execution: Execution, device: torch.device) -> torch.nn.Module:
    """The network as the task wants it run; the one given keeps its weights, and gets the memory format.

    Raises:
        ModelError: the precision cannot be had for this network or on this device.
    """
    if execution.channels_last:
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if execution.precision == "int8-dynamic":
        if device.type != "cpu":
            raise ModelError(f"precision int8-dynamic runs on the CPU alone, not on {device}; use bf16 or fp16 there")
        with warnings.catch_warnings():  # torch announces a successor (torchao) that is a package of its own
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
    """What floating inputs are cast to; `None` leaves them."""
    return _DTYPES.get(execution.precision)


def compare(reference_BC: torch.Tensor, found_BC: torch.Tensor) -> Agreement:
    """How far logits agree with fp32's on the same rows."""
    reference, found = torch.softmax(reference_BC.float(), dim=1), torch.softmax(found_BC.float(), dim=1)
    same = (reference.argmax(dim=1) == found.argmax(dim=1)).float().mean()
    difference = (reference.max(dim=1).values - found.max(dim=1).values).abs().max()
    return Agreement(len(reference_BC), float(same), float(difference))

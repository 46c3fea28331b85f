"""Linear layers whose weights are laid out once, ahead of all batches, as oneDNN wants them.

A plain `torch.nn.Linear` on a CPU multiplies by MKL, which lays out the weights again in each call. On AMD processors,
oneDNN with weights that are laid out already is a fifth faster (`benchmarks/LOG.md`), and the same up to rounding.

Shapes: B... rows of any shape, I input features, O output features.
"""

import os
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from sparktorch_assets.tasks.execution import Execution

_MEMORY_SHARE = 0.1
"""The share of a host's memory that the layouts of all its slots may take. They are not shared between processes."""
_EXPECTED_ROWS = 2_048
"""The number of rows for which oneDNN chooses the layout; others are computed as well."""
_CODE_COST = 1_500_000_000
"""oneDNN generates code for each new number of rows and each shape of weights, which takes up to 3 ms: what it saves in
this many multiplications."""
_KNOWN_ROWS = 1_024
"""How many numbers of rows are remembered, as many as oneDNN keeps code for."""


class PackedLinear(nn.Linear):
    """A linear layer with the parameters of another one, and a second copy of its weights in oneDNN's layout.

    Args:
        linear: the other layer.
        break_even: after how many rows, in batches of one size, generating code for this size pays. Batches that are
            divided to find a failing row have many sizes, each of them a few times.
    """

    def __init__(self, linear: nn.Linear, break_even: float) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.train(linear.training)
        self._break_even = break_even
        self._seen: dict[int, int] = {}
        self._packed: Any = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _EXPECTED_ROWS)  # noqa: SLF001

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The product, of shape (B..., O), for `x` of shape (B..., I)."""
        usual = x.dtype == torch.float32 and x.ndim > 1 and x.numel() > 0 and x.is_contiguous()
        if not usual or not self._pays(x.numel() // self.in_features):
            return functional.linear(x, self.weight, self.bias)
        found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")  # noqa: SLF001
        return found

    def _pays(self, rows: int) -> bool:
        if rows not in self._seen and len(self._seen) >= _KNOWN_ROWS:
            self._seen.clear()
        self._seen[rows] = self._seen.get(rows, 0) + rows
        return self._seen[rows] >= self._break_even


def pack_linear_layers(module: nn.Module, execution: Execution, device: torch.device) -> None:
    """Replace the linear layers in `module` by packed ones, if it runs in fp32 on a CPU with oneDNN, without
    compilation, and if the copies take little of the host's memory. Layers with hooks or of other classes stay."""
    if device.type != "cpu" or execution.precision != "fp32" or execution.compile != "none":
        return
    layers = [
        (parent, name, child)
        for parent in module.modules()
        if not isinstance(parent, torch.jit.ScriptModule)
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear) and _is_plain(child)
    ]
    needed = sum(layer.weight.numel() * 4 for layer in {layer for _, _, layer in layers})
    if not needed or needed > _allowed_bytes() or not _has_onednn():
        return
    shapes = {layer.weight.shape for _, _, layer in layers}
    break_even = _CODE_COST * len(shapes) / sum(layer.weight.numel() for _, _, layer in layers)
    packed: dict[nn.Module, PackedLinear] = {}
    with torch.no_grad():
        for parent, name, layer in layers:
            if layer not in packed:
                packed[layer] = PackedLinear(layer, break_even)
            setattr(parent, name, packed[layer])


def _is_plain(layer: nn.Linear) -> bool:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    if type(layer) is not nn.Linear or "forward" in vars(layer) or any(getattr(layer, name) for name in hooks):
        return False
    weight = layer.weight
    dense = weight.dtype == torch.float32 and weight.layout == torch.strided and weight.device.type == "cpu"
    return dense and weight.numel() > 0


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call,no-any-return,unused-ignore]


def _allowed_bytes() -> float:
    """The bytes that this process may use for layouts: an equal part for each slot of the host."""
    slots = max(1, (os.cpu_count() or 1) // torch.get_num_threads())
    return _MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / slots

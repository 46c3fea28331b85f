"""Networks that fail on purpose, so that you can test what your tasks do when a model misbehaves. They need no GPU.

Each is an architecture for `ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "FailsOnValue",
...})`; as numeric models they take `x_BF` (B rows, F features) and give logits (B, C).
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

import torch


class Echo(torch.nn.Module):
    """Class 1 where the row's features sum above zero, else class 0: an answer that a test can compute itself."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        """Logits (B, C): the sum against zero."""
        total_B = x_BF.float().sum(dim=1)
        logits_BC = torch.zeros(len(x_BF), self.classes, device=x_BF.device)
        logits_BC[:, 1] = total_B
        return logits_BC


class RevealsBatch(Echo):
    """Every row of a batch of n rows gets class n: shows how batches were cut."""

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        """Logits (B, C), one-hot at B."""
        logits_BC = torch.zeros(len(x_BF), self.classes)
        logits_BC[:, len(x_BF)] = 10.0
        return logits_BC


class FailsOnValue(Echo):
    """Raises ValueError for a batch in which any feature equals `value`."""

    def __init__(self, value: float, classes: int = 2) -> None:
        super().__init__(classes)
        self.value = value

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        """As Echo, or ValueError."""
        if bool((x_BF == self.value).any()):
            raise ValueError("poison")
        return super().forward(x_BF)


class NotFiniteOnValue(FailsOnValue):
    """Gives NaN logits for the rows in which any feature equals `value`."""

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        """As Echo, NaN for poisoned rows."""
        logits_BC = Echo.forward(self, x_BF)
        logits_BC[(x_BF == self.value).any(dim=1)] = torch.nan
        return logits_BC


class OutOfMemoryAbove(Echo):
    """Raises torch's out-of-memory error for a batch of more than `rows` rows."""

    def __init__(self, rows: int, classes: int = 2) -> None:
        super().__init__(classes)
        self.rows = rows

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        """As Echo, or torch.OutOfMemoryError."""
        if len(x_BF) > self.rows:
            raise torch.OutOfMemoryError(f"CUDA out of memory (pretended): {len(x_BF)} rows")
        return super().forward(x_BF)


class FailsEveryCall(Echo):
    """Raises RuntimeError on every `every`-th call, whatever the rows."""

    def __init__(self, every: int, classes: int = 2) -> None:
        super().__init__(classes)
        self.every = every
        self.calls = 0

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        """As Echo, or RuntimeError."""
        self.calls += 1
        if self.calls % self.every == 0:
            raise RuntimeError(f"call {self.calls} fails")
        return super().forward(x_BF)


class HangsOnValue(FailsOnValue):
    """Sleeps for an hour on a batch in which any feature equals `value`."""

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        """As Echo, much later."""
        if bool((x_BF == self.value).any()):
            time.sleep(3600)
        return Echo.forward(self, x_BF)


class DiesOnValue(FailsOnValue):
    """Kills its process (SIGKILL) on a batch in which any feature equals `value`; with `once`, a path, only the first
    time: the file marks that it happened."""

    def __init__(self, value: float, classes: int = 2, once: str | None = None) -> None:
        super().__init__(value, classes)
        self.once = Path(once) if once else None

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        """As Echo, or the end of the process."""
        if bool((x_BF == self.value).any()) and not (self.once and self.once.exists()):
            if self.once:
                self.once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Echo.forward(self, x_BF)


class RowsOnly:
    """A model object with `predict(rows)` alone: class by the sign of one column."""

    def __init__(self, column: str = "x") -> None:
        self.column = column

    def predict(self, rows: list[dict[str, Any]]) -> Any:
        """Add `predicted_class` and `confidence` to each row."""
        for row in rows:
            yield {**row, "predicted_class": "1" if row[self.column] > 0 else "0", "confidence": 0.75}


def build(_weights: Path | None, _device: torch.device, network: str, **arguments: Any) -> Any:
    """The factory of everything above, by class name."""
    return globals()[network](**arguments)

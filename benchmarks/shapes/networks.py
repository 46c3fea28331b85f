"""The networks of the shapes, the hooks, and what a bare loop does with a network's answer. Their numbers are fixed."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

LABELS = ("a", "b", "c", "d")


class Mlp(nn.Module):
    """F-W-W-4 over numbers."""

    def __init__(self, features: int = 16, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, len(LABELS))
        )

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        """Logits (B, 4)."""
        return self.layers(x_BF)


class Sleeping(Mlp):
    """An MLP that takes a given time per row without needing a core, as a device does that is waited for."""

    def __init__(self, row_s: float) -> None:
        super().__init__(features=2)
        self.row_s = row_s

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        """Logits (B, 4)."""
        time.sleep(self.row_s * len(x_BF))
        return super().forward(x_BF)


class Categories(nn.Module):
    """Vocabulary indices, added up in four classes."""

    def forward(self, c_BK: torch.Tensor) -> torch.Tensor:
        """Logits (B, 4)."""
        return nn.functional.one_hot(c_BK.sum(dim=1) % len(LABELS), len(LABELS)).float()


class Tokens(nn.Module):
    """Tokens, added up in four classes."""

    def forward(self, token_ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        """Logits (B, 4)."""
        return nn.functional.one_hot((token_ids_BT * mask_BT).sum(dim=1) % len(LABELS), len(LABELS)).float()


class Brightness(nn.Module):
    """Images, by their mean."""

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Logits (B, 4)."""
        bright_B1 = x_BCHW.mean(dim=(1, 2, 3))[:, None]
        return -(bright_B1 - torch.tensor([0.2, 0.4, 0.6, 0.8])).abs()


_NETWORKS = {
    "mlp": Mlp,
    "sleeping": Sleeping,
    "categories": Categories,
    "tokens": Tokens,
    "brightness": Brightness,
}


def build(_weights: Path | None, _device: torch.device, network: str, **arguments: Any) -> nn.Module:
    """A task's factory."""
    torch.manual_seed(0)
    return _NETWORKS[network](**arguments).eval()


def answers(network: nn.Module, *inputs_B: torch.Tensor, batch_rows: int = 8192) -> list[pa.Array]:
    """Class, confidence and error of each row: the columns that every way has to add."""
    confidence, index = [], []
    with torch.inference_mode():
        for start in range(0, len(inputs_B[0]), batch_rows):
            shares = network(*(one_B[start : start + batch_rows] for one_B in inputs_B)).softmax(1)
            best = shares.max(1)
            confidence.append(best.values.numpy())
            index.append(best.indices.numpy())
    classes = pa.array(LABELS).take(pa.array(np.concatenate(index)))
    return [classes, pa.array(np.concatenate(confidence)), pa.nulls(len(classes), pa.string())]


def with_answers(rows: pa.Table, added: list[pa.Array]) -> pa.Table:
    """The rows with the columns that `answers` found."""
    for name, column in zip(("predicted_class", "confidence", "prediction_error"), added, strict=True):
        rows = rows.append_column(name, column)
    return rows


def stacked(rows: pa.Table | pa.RecordBatch, names: list[str]) -> torch.Tensor:
    """Numeric columns as a tensor (B, F)."""
    x_BF = np.empty((rows.num_rows, len(names)), np.float32)
    for place, name in enumerate(names):
        x_BF[:, place] = rows[name].to_numpy()
    return torch.from_numpy(x_BF)


def halve_first(row: dict[str, Any]) -> dict[str, Any]:
    """A row hook that changes one column."""
    return row | {"f0": row["f0"] / 2}


def halve_first_of_frame(frame: Any) -> Any:
    """A batch hook that changes one column."""
    frame["f0"] = frame["f0"] / 2
    return frame

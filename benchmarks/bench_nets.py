"""The benchmark's network; workers import it by name."""

from typing import Any

FEATURES = [f"f{number}" for number in range(16)]
LABELS = ["a", "b", "c", "d"]


def mlp(_weights: Any, device: Any) -> Any:
    """16-64-64-4, always the same weights."""
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 4)
    ).to(device)

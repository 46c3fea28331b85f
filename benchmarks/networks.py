"""Networks of the sizes that people run, with random weights: speed does not depend on what they learnt.

Shapes: B rows, T tokens, F features, C channels, H height, W width, D width of the encoder.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

TEXT_WIDTH, TEXT_LAYERS, TEXT_CLASSES = 192, 3, 8
IMAGE_CLASSES = 1000


class TextEncoder(nn.Module):
    """A transformer encoder over bytes (d=192, 3 layers), mean-pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(257, TEXT_WIDTH, padding_idx=0)
        layer = nn.TransformerEncoderLayer(TEXT_WIDTH, 6, 4 * TEXT_WIDTH, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, TEXT_LAYERS, enable_nested_tensor=False)
        self.head = nn.Linear(TEXT_WIDTH, TEXT_CLASSES)

    def forward(self, token_ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        """Logits (B, 8)."""
        x_BTD = self.encoder(self.embed(token_ids_BT), src_key_padding_mask=~mask_BT)
        weight_BT1 = mask_BT.unsqueeze(2).to(x_BTD.dtype)
        return self.head((x_BTD * weight_BT1).sum(dim=1) / weight_BT1.sum(dim=1).clamp(min=1))


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or 1x1-3x3-1x1 with `expansion` 4 (He et al., 2015)."""

    def __init__(self, channels: int, width: int, stride: int, expansion: int) -> None:
        super().__init__()
        shapes = (
            [(channels, width, 3, stride), (width, width, 3, 1)]
            if expansion == 1
            else [(channels, width, 1, 1), (width, width, 3, stride), (width, 4 * width, 1, 1)]
        )
        layers: list[nn.Module] = []
        for before, after, kernel, step in shapes:
            layers += [
                nn.Conv2d(before, after, kernel, step, kernel // 2, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*layers[:-1])
        out = width * expansion
        self.shortcut = (
            nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
            if stride != 1 or channels != out
            else nn.Identity()
        )

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """The block's output."""
        return torch.relu(self.body(x_BCHW) + self.shortcut(x_BCHW))


def resnet(depths: tuple[int, ...], expansion: int) -> nn.Module:
    """A residual network for 224x224 images: (2, 2, 2, 2) and 1 give ResNet-18's shape, (3, 4, 6, 3) and 4 ResNet-50's."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    channels = 64
    for stage, depth in enumerate(depths):
        width = 64 << stage
        for block in range(depth):
            layers.append(Block(channels, width, 2 if block == 0 and stage else 1, expansion))
            channels = width * expansion
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, IMAGE_CLASSES))


def mlp() -> nn.Module:
    """16-64-64-4."""
    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))


class PickyMlp(nn.Module):
    """16-W-W-4; raises for a batch with a poisoned row (first feature above 1e6), after it has done the work: the
    dearest way to fail."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(16, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4)
        )

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        """Logits (B, 4)."""
        logits_BC = self.mlp(x_BF)
        if bool((x_BF[:, 0] > 1e6).any()):
            raise ValueError("poison")
        return logits_BC


class RowsMlp:
    """The MLP as a user's model object with `predict(rows)` alone."""

    def __init__(self) -> None:
        self.mlp = mlp().eval()

    def predict(self, rows: list[dict[str, Any]]) -> Any:
        """Add `predicted_class` and `confidence`."""
        x_BF = torch.tensor([[row[f"f{f}"] for f in range(16)] for row in rows])
        if bool((x_BF[:, 0] > 1e6).any()):
            raise ValueError("poison")
        with torch.inference_mode():
            confidence_B, index_B = torch.softmax(self.mlp(x_BF), dim=1).max(dim=1)
        for row, index, confidence in zip(rows, index_B.tolist(), confidence_B.tolist(), strict=True):
            row["predicted_class"], row["confidence"] = "abcd"[index], confidence
            yield row


BUILDERS = {
    "text": TextEncoder,
    "images": lambda: resnet((2, 2, 2, 2), 1),
    "images-50": lambda: resnet((3, 4, 6, 3), 4),
    "tabular": mlp,
    "rows_only": RowsMlp,
    "poison": lambda: PickyMlp(512),
    "poison_wide": lambda: PickyMlp(2048),
    "poison_rows": RowsMlp,
}


def build(_weights: Path | None, _device: torch.device, workload: str) -> Any:
    """A task's factory: the workload's network, the same weights every time. `<workload>_free` is a second instance."""
    torch.manual_seed(0)
    found = BUILDERS[workload.removesuffix("_free")]()
    return found.eval() if isinstance(found, nn.Module) else found

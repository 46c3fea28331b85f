"""A byte-level text classifier whose answer does not depend on how far a text was padded.

Shapes: B texts, T tokens, E embedding size, H channels, O classes.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

BYTE_TOKENS = 257
"""The 256 byte values, each shifted by one, after 0 for padding."""


class MessageNet(nn.Module):
    """Byte embeddings, masked convolutions, then the maximum and the mean over a text's own tokens.

    Padded positions are set to zero before every convolution, which is what lies beyond a text's end without padding,
    and count in neither pooling. A text thus gets the same logits (up to float rounding) in whatever batch it comes.
    """

    def __init__(self, *, classes: int, embedding_size: int = 48, channels: int = 128, layers: int = 2) -> None:
        """Build the network.

        Args:
            classes: how many classes there are (O).
            embedding_size: numbers that stand for one byte (E).
            channels: width of the convolutions (H).
            layers: how many convolutions there are; each sees two more neighbours on either side.
        """
        super().__init__()
        self.embedding = nn.Embedding(BYTE_TOKENS, embedding_size, padding_idx=0)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(embedding_size if layer == 0 else channels, channels, kernel_size=5, padding=2)
            for layer in range(layers)
        )
        self.classifier = nn.Linear(2 * channels, classes)

    def forward(self, token_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Logits of shape (B, O). A text without tokens gets the logits of an all-zero summary.

        Args:
            token_ids_BT: byte values plus one, 0 where padded, int64.
            mask_BT: true on a text's own tokens.
        """
        if token_ids_BT.shape[1] == 0:  # A batch of empty texts only: there is no maximum over nothing.
            token_ids_BT, mask_BT = functional.pad(token_ids_BT, (0, 1)), functional.pad(mask_BT, (0, 1))
        x_BHT = self.embedding(token_ids_BT).transpose(1, 2)
        mask_B1T = mask_BT.unsqueeze(1).to(x_BHT.dtype)
        for convolution in self.convolutions:
            x_BHT = torch.relu(convolution(x_BHT * mask_B1T))
        x_BHT = x_BHT * mask_B1T
        # After relu nothing is below zero, so the zeros of the padding never win the maximum wrongly.
        highest_BH = x_BHT.amax(dim=2)
        mean_BH = x_BHT.sum(dim=2) / mask_B1T.sum(dim=2).clamp(min=1.0)
        return cast(Tensor, self.classifier(torch.cat([highest_BH, mean_BH], dim=1)))

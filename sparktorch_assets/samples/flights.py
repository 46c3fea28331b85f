"""A small network over a flight's timetable entry: numbers, and categories as embeddings.

Shapes: B flights, F numeric columns, K categorical columns, E embedding size, D joined size, O classes.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn


class FlightNet(nn.Module):
    """Standardised numbers and embedded categories, joined and sent through two hidden layers.

    The numbers' mean and standard deviation are buffers: they travel with the weights, so that raw columns go in.
    """

    mean_F: Tensor  # noqa: N815
    std_F: Tensor  # noqa: N815

    def __init__(
        self,
        *,
        numeric_columns: int,
        vocabulary_sizes: Sequence[int],
        classes: int = 2,
        embedding_size: int = 12,
        hidden_size: int = 96,
    ) -> None:
        """Build the network for a table's columns.

        Args:
            numeric_columns: how many numeric columns there are (F).
            vocabulary_sizes: known values of each categorical column (K entries), not counting the one for unknowns.
            classes: how many classes there are (O).
            embedding_size: numbers that stand for one category (E).
            hidden_size: width of both hidden layers.
        """
        super().__init__()
        self.register_buffer("mean_F", torch.zeros(numeric_columns))
        self.register_buffer("std_F", torch.ones(numeric_columns))
        # Index 0 stands for a null or a value outside the vocabulary; entry i of the vocabulary has index i + 1.
        self.embeddings = nn.ModuleList(nn.Embedding(size + 1, embedding_size) for size in vocabulary_sizes)
        self.layers = nn.Sequential(
            nn.Linear(numeric_columns + embedding_size * len(vocabulary_sizes), hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, classes),
        )

    def forward(self, x_BF: Tensor, c_BK: Tensor) -> Tensor:
        """Logits of shape (B, O).

        Args:
            x_BF: the numeric columns as they are in the table, float32.
            c_BK: the categorical columns as vocabulary indices, int64.
        """
        standardised_BF = (x_BF - self.mean_F) / self.std_F
        embedded_BE = [embedding(c_BK[:, column]) for column, embedding in enumerate(self.embeddings)]
        return cast(Tensor, self.layers(torch.cat([standardised_BF, *embedded_BE], dim=1)))

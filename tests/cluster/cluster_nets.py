"""Networks and hooks for the tests of clusters; workers import this file, which a session ships to them."""

import os
import socket
import time
from pathlib import Path


def linear(weights, device, noted_in, seconds_per_batch):
    """A linear layer whose weights are drawn with the seed in the weights file. Each batch takes a while, and notes the
    host and the executor that it runs on."""
    import torch

    torch.manual_seed(int(Path(weights).read_text()))

    class Linear(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 3)

        def forward(self, x_BF):
            # All workers of an executor are children of one daemon.
            with Path(noted_in).open("a") as notes:
                notes.write(f"{socket.gethostname()} {os.getppid()} {len(x_BF)}\n")
            time.sleep(seconds_per_batch)
            return self.layer(x_BF)

    return Linear()


def without_every_seventh(row):
    """A hook that drops rows."""
    return None if row["id"] % 7 == 0 else row

"""Models for tests of scoring; workers import this file by name."""

import os
import signal
import time
from pathlib import Path


def linear(weights, device, seed=0):
    import torch

    torch.manual_seed(seed)
    return torch.nn.Linear(2, 3)


def dies_once(weights, device, marker=""):
    """The first batch kills its process, unless the marker file is there."""
    return _linear_after_the_first_batch(marker, lambda: os.kill(os.getpid(), signal.SIGKILL))


def wrong_shape(weights, device):
    import torch

    return torch.nn.Linear(2, 7)


def forgets_return(row):
    """A row hook without its last line."""
    row["confidence"] = 1.0


def from_file(weights, device):
    """`linear` with the seed that the weights file holds."""
    return linear(None, device, int(Path(weights).read_text()))


def kills_executor_once(weights, device, marker=""):
    """The first batch kills the executor: the JVM that started the daemon that started this worker."""

    def kill_executor():
        stat = Path(f"/proc/{os.getppid()}/stat").read_text()
        os.kill(int(stat.rpartition(")")[2].split()[1]), signal.SIGKILL)
        time.sleep(60)

    return _linear_after_the_first_batch(marker, kill_executor)


def _linear_after_the_first_batch(marker, first_batch):
    """A linear layer; while the marker file is not there, a batch makes it and calls `first_batch` instead."""
    import torch

    class Once(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 3)

        def forward(self, x_BF):
            try:
                Path(marker).touch(exist_ok=False)
            except FileExistsError:
                return self.layer(x_BF)
            first_batch()
            return None

    return Once()

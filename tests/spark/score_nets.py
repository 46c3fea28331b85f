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
    import torch

    class Dies(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 3)

        def forward(self, x_BF):
            try:
                Path(marker).touch(exist_ok=False)
            except FileExistsError:
                return self.layer(x_BF)
            os.kill(os.getpid(), signal.SIGKILL)
            return None

    return Dies()


def wrong_shape(weights, device):
    import torch

    return torch.nn.Linear(2, 7)


def from_file(weights, device):
    """`linear` with the seed that the weights file holds."""
    return linear(None, device, int(Path(weights).read_text()))


def kills_executor_once(weights, device, marker=""):
    """The first batch kills the executor: the JVM that started the daemon that started this worker."""
    import torch

    class Kills(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 3)

        def forward(self, x_BF):
            try:
                Path(marker).touch(exist_ok=False)
            except FileExistsError:
                return self.layer(x_BF)
            stat = Path(f"/proc/{os.getppid()}/stat").read_text()
            os.kill(int(stat.rpartition(")")[2].split()[1]), signal.SIGKILL)
            time.sleep(60)
            return None

    return Kills()

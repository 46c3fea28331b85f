"""A model for GPUs that are only pretended: it runs on the CPU, and notes on which GPU it should have run, and when.

Workers import this file, which a session ships to them together with `pretended_gpus.py`.
"""

import contextlib
import os
import socket
import time
from pathlib import Path

import pretended_gpus  # noqa: F401  (on import, torch sees GPUs)
import torch

from sparktorch_assets.predict.loader import ModelLoader


class Slow(torch.nn.Module):
    """The sign of the first column. A batch takes time in proportion to its rows."""

    def __init__(self, seconds_per_row):
        super().__init__()
        self.seconds_per_row = seconds_per_row
        self.notes, self.place, self.dead, self.batches = None, "", None, 0

    def forward(self, x_BF):
        began = time.time()
        if self._is_dead():
            raise RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be reported later")
        time.sleep(self.seconds_per_row * len(x_BF))
        with self.notes.open("a") as file:
            file.write(f"{self.place} {os.getpid()} {began} {time.time()} {len(x_BF)}\n")
        return torch.cat([-x_BF[:, :1], x_BF[:, :1]], dim=1)

    def _is_dead(self):
        """Whether this GPU has failed for good, which happens to one of them after some batches."""
        if self.dead is None:
            return False
        self.batches += 1
        if self.batches > 2 and self.place.endswith(":1"):
            with contextlib.suppress(FileExistsError):
                self.dead.symlink_to(self.place)
        return self.dead.is_symlink() and str(self.dead.readlink()) == self.place


def slow(weights, device, seconds_per_row):
    return Slow(seconds_per_row)


class NotingLoader(ModelLoader):
    """Tells the network on which GPU it is, and puts it on the CPU."""

    def __init__(self, *given, notes="", dead="", **options):
        super().__init__(*given, **options)
        self.notes, self.dead = notes, dead

    def bring_up_model(self, ml_task, gpu=True, gpu_device=0, batch_size=None):
        model = super().bring_up_model(ml_task, gpu=False, batch_size=batch_size)
        # All workers of an executor are children of one daemon.
        model.module.place = f"{socket.gethostname()}:{os.getppid()}:{gpu_device if gpu else 'cpu'}"
        model.module.notes = Path(self.notes) / f"{socket.gethostname()}-{os.getpid()}"
        model.module.dead = Path(self.dead) if self.dead else None
        return model

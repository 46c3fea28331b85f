"""Networks that compute on a GPU in Spark's workers, and note which process did so, where and when.

A session ships this file to its workers. Notes are files in a folder that the factory's argument names: of each process,
`<pid>.process`, a JSON object that tells who started it and which GPUs Spark assigned to its task, and `<pid>.batches`,
with one line per forward pass: device, beginning, end.
"""

import json
import os
import signal
import time
from pathlib import Path

import torch
from pyspark import TaskContext

BATCH_S = 0.02
"""A forward pass takes at least this long, so that processes that compute at the same time are seen to do so."""
MEET_S = 30


class Noting(torch.nn.Module):
    """Three classes of two numbers. Where `together` is above 1, a process's first batch waits until that many processes
    have come to theirs, so that they compute at the same time."""

    def __init__(self, notes, together):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(torch.nn.Linear(2, 256), torch.nn.ReLU(), torch.nn.Linear(256, 3))
        self.notes, self.together, self.met = Path(notes), together, False

    def forward(self, x_BF):
        if not self.met:
            self._meet()
        began = time.time()
        time.sleep(BATCH_S)
        logits_BL = self.layers(x_BF)
        if x_BF.is_cuda:
            torch.cuda.synchronize(x_BF.device)
        note_batch(self.notes, x_BF.device, began)
        return logits_BL

    def _meet(self):
        note_process(self.notes)
        until = time.monotonic() + MEET_S
        while len(list(self.notes.glob("*.process"))) < self.together and time.monotonic() < until:
            time.sleep(0.05)
        self.met = True


class DiesOnce(Noting):
    """Kills its own process after it has computed its first batch; the marker file keeps other processes from it."""

    def __init__(self, notes, marker):
        super().__init__(notes, 1)
        self.marker = Path(marker)

    def forward(self, x_BF):
        logits_BL = super().forward(x_BF)
        try:
            with self.marker.open("x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            return logits_BL
        os.kill(os.getpid(), signal.SIGKILL)
        return logits_BL


class Looks(torch.nn.Module):
    """Looks a number up in a table of a hundred: on a GPU, an index out of range fails an assertion of the kernel."""

    def __init__(self, notes):
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(100, 2)
        self.notes = Path(notes)

    def forward(self, x_BF):
        note_process(self.notes)
        index_B = x_BF[:, 0].long()
        if bool((index_B >= self.table.num_embeddings).any()):
            (self.notes / f"{os.getpid()}.bad").touch()
        began = time.time()
        logits_BL = self.table(index_B)
        note_batch(self.notes, x_BF.device, began)
        return logits_BL


def note_batch(notes, device, began):
    """Write down a forward pass that has just been done, or at least launched."""
    with (notes / f"{os.getpid()}.batches").open("a") as file:
        file.write(f"{device} {began} {time.time()}\n")


def note_process(notes):
    """Write down who started this process, and the GPUs that Spark assigned to its task."""
    file = notes / f"{os.getpid()}.process"
    if file.exists():
        return
    task = TaskContext.get()
    gpus = (task.resources() or {}).get("gpu") if task is not None else None
    parent = os.getppid()
    fds = Path(f"/proc/{parent}/fd")
    said = {
        "parent": Path(f"/proc/{parent}/cmdline").read_text().split("\0"),
        "parent_threads": len(list(Path(f"/proc/{parent}/task").iterdir())),
        "parent_gpus": [name for name in map(os.path.realpath, fds.iterdir()) if name.startswith("/dev/nvidia")],
        "addresses": list(gpus.addresses) if gpus else [],
    }
    written = file.with_suffix(".new")
    written.write_text(json.dumps(said))
    written.rename(file)


def noting(weights, device, notes, together=1):
    return Noting(notes, together)


def dies_once(weights, device, notes, marker):
    return DiesOnce(notes, marker)


def looks(weights, device, notes):
    return Looks(notes)

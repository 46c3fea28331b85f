"""What a worker holds at most, beside what the bare loop holds in a process of its own."""

import contextlib
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import torch

from shapes.floats import FEATURES, rows_of, write
from shapes.networks import answers, build, stacked, with_answers
from shapes.peak import peak_mb
from shapes.shape import ProcessShape, Taken, Target, Way
from shapes.table_shape import TableShape, write_part


class BareLoop(ProcessShape):
    """The loop of the floor, alone in a process, as a Spark worker is."""

    def prepare(self) -> None:
        """The files are the table's."""

    def ours(self) -> None:
        """Not used: the library's go is the worker's."""

    def floor(self) -> Path:
        """Read, predict and write one file at a time."""
        torch.set_num_threads(1)
        mlp = build(None, torch.device("cpu"), "mlp")
        for path in sorted((self.folder / "source").glob("*.parquet")):
            rows = pq.ParquetFile(path).read(use_threads=False)
            rows = with_answers(rows, answers(mlp, stacked(rows, FEATURES)))
            write_part(rows, self.folder / "floor" / path.name)
        return self.folder / "floor"


class WorkerMemory(TableShape):
    """One slot, in a session of its own, whose worker has done nothing else."""

    letter = "memory"
    name = "the memory of a worker"
    floor_is = "one file at a time read, predicted and written in a process of its own"
    target = Target(ratio=None, peak_memory_ratio=1.3)
    slots = 1

    def prepare(self) -> None:
        """Large row groups."""
        for number in range(2):
            rows = rows_of(self.sized(1_000_000, 100), seed=number, first=number * 1_000_000)
            write(rows, self.source / f"{number}.parquet")

    def once(self, way: Way) -> Taken:
        """Look at the memory of the process that did the work."""
        if way == "floor":
            return BareLoop(self.folder, self.scale).once(way)
        taken = super().once(way)
        return Taken(seconds=taken.seconds, result=taken.result, peak_mb=_workers_peak_mb())


def _workers_peak_mb() -> float:
    """The peak of the worker that held most. The daemon that forks them reads no rows, so it holds less than any."""
    peaks = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error, OSError):  # workers of an earlier session may be ending
            if process.cmdline()[-1:] == ["pyspark.worker"]:
                peaks.append(peak_mb(process.pid))
    return max(peaks)

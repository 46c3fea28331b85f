"""Runs a writer over and over, and kills it with SIGKILL right before its first, second, ... step on the disk.

Arguments: the kind of writer, a folder; its subfolder `untouched` is copied to `1`, `2`, ... to work in, until one ends by
itself. A step is whatever gives a file its name, takes one away, or brings something to disk. What delta-rs and pyarrow do
inside cannot be stopped half way; between them it can. Forked before either has started a thread, because a process a step
costs seconds.
"""

import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path
from unittest import mock

import pyarrow as pa
from lake_scorer import CUTS, plan_of, refresh, refresh_partitions

from sparktorch_assets.lake.adoption import adopt_parts
from sparktorch_assets.lake.derived import write_if_changed
from sparktorch_assets.lake.files.folder import Folder

STEPS = [(os, "link"), (os, "fsync"), (Path, "unlink"), (Path, "replace"), (Folder, "delete"), (Folder, "replace")]


def scored(folder: Path) -> None:
    refresh(folder / "source", folder / "table", 2)


def row_ranges(folder: Path) -> None:
    refresh(folder / "source", folder / "table", 2, **CUTS["row ranges"])


def small_files(folder: Path) -> None:
    refresh(folder / "source", folder / "table", 2, **CUTS["small files"])


def derived(folder: Path) -> None:
    write_if_changed(str(folder / "table"), pa.table({"a": [1, 2, 3]}), "v2")


def partitions(folder: Path) -> None:
    refresh_partitions(folder / "source", folder / "table", 2, (0, 2, 3))


def derived_partition(folder: Path) -> None:
    write_if_changed(str(folder / "table"), pa.table({"a": [1, 2, 3]}), "v2", partition={"ds": "2"})


def adopted(folder: Path) -> None:
    adopt_parts([plan_of(folder / "source", folder / "table", 2)], [str(folder / "challenger")])
    _, computed = refresh(folder / "source", folder / "table", 2)
    assert not computed, "the parts of the challenger are there to be taken over"


def eightieth(folder: Path) -> None:
    """A commit after which there is a checkpoint, and old entries of the log go."""
    write_if_changed(str(folder / "table"), pa.table({"a": [80]}), "80")


WRITERS = (scored, row_ranges, small_files, partitions, derived, derived_partition, adopted)
KINDS = {writer.__name__: writer for writer in WRITERS}
"""Those that work on a table that is small and new."""


@contextlib.contextmanager
def killed_before(step: int):
    """Kill this process before its n-th step, counted from 1."""
    left = step

    def counted(function):
        def call(*args, **kwargs):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    with contextlib.ExitStack() as patches:
        for owner, name in STEPS:
            patches.enter_context(mock.patch.object(owner, name, counted(getattr(owner, name))))
        yield


def main(kind: str, folder: Path) -> None:
    for step in range(1, 100):
        shutil.copytree(folder / "untouched", folder / str(step))
        child = os.fork()
        if not child:
            with killed_before(step):
                (KINDS | {"eightieth": eightieth})[kind](folder / str(step))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) == 0:
            return
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, status


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

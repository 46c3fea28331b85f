"""Finds Spark's processes on this host, and sends signals to them at random moments.

`kill -9` of a Python worker is what the kernel does when memory runs out; of an executor, what a cluster does when it
takes a host back; `SIGSTOP` makes a straggler.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_WORKER = b"pyspark.worker"
"""The last argument of Spark's Python processes: of the daemon, and of the workers that it forks."""
_EXECUTORS = (b"org.apache.spark.executor.CoarseGrainedExecutorBackend",)
_LOOKS_PER_S = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class _Process:
    pid: int
    parent: int
    arguments: tuple[bytes, ...]


def python_workers(below: int | None = None) -> list[int]:
    """The process ids of Spark's Python workers on this host.

    Args:
        below: only descendants of this process; by default, of the calling one, as in local mode. `1` is all of the
            host: use it on a cluster's hosts.
    """
    found = _processes()
    workers = [pid for pid, process in found.items() if process.arguments[-1:] == (_WORKER,)]
    parents = {found[pid].parent for pid in workers}
    # The daemon has the same arguments as the workers that it forks, and no worker has children of that kind.
    return [
        pid for pid in workers if pid not in parents and found[pid].parent in workers and _is_below(pid, below, found)
    ]


def executors(below: int | None = None) -> list[int]:
    """The process ids of Spark's executors on this host. In local mode there are none: the driver's JVM does their work.

    Args:
        below: as for `python_workers`.
    """
    found = _processes()
    return [
        pid
        for pid, process in found.items()
        if not set(_EXECUTORS).isdisjoint(process.arguments) and _is_below(pid, below, found)
    ]


@contextmanager
def killing(
    find: Callable[[], list[int]] = python_workers, *, seed: int, within_s: float, times: int = 1
) -> Iterator[list[int]]:
    """Kill (`SIGKILL`) one of the processes that `find` finds, at a random moment of whatever runs inside the block.

    Args:
        find: finds the processes that may be killed; for example `python_workers` or `executors`.
        seed: decides the moments and the processes. Which step of a run a moment falls on still depends on the host.
        within_s: seconds after the first process was found, or after the last kill, within which the next one happens.
        times: how many kills there are, if the block runs long enough.

    Yields:
        The ids of the processes that were killed so far. A test should assert that there are some.
    """
    with signal_at_random(find, signal.SIGKILL, seed=seed, within_s=within_s, times=times) as sent:
        yield sent


@contextmanager
def signal_at_random(
    find: Callable[[], list[int]], number: signal.Signals, *, seed: int, within_s: float, times: int = 1
) -> Iterator[list[int]]:
    """As `killing`, with any signal. Processes that are stopped (`SIGSTOP`) go on when the block is left."""
    draw, sent, ended = random.Random(seed), list[int](), threading.Event()  # noqa: S311  (nothing secret)

    def send() -> None:
        for _ in range(times):
            _wait_for(find, ended)
            if ended.wait(draw.uniform(0, within_s)):
                return
            there = _wait_for(find, ended)
            if there:
                chosen = draw.choice(there)
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(chosen, number)
                    sent.append(chosen)

    sender = threading.Thread(target=send, name="faults", daemon=True)
    sender.start()
    try:
        yield sent
    finally:
        ended.set()
        sender.join()
        if number == signal.SIGSTOP:
            for pid in sent:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


def _wait_for(find: Callable[[], list[int]], ended: threading.Event) -> list[int]:
    """The processes, once there are any; none if the block has been left."""
    while not ended.is_set():
        there = sorted(find())
        if there:
            return there
        time.sleep(1 / _LOOKS_PER_S)
    return []


def _processes() -> dict[int, _Process]:
    """The host's processes, by their ids. Those that end meanwhile are left out, and so are zombies."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            arguments = tuple((folder / "cmdline").read_bytes().split(b"\0")[:-1])
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if arguments:
                pid = int(folder.name)
                found[pid] = _Process(pid=pid, parent=int(fields[1]), arguments=arguments)
    return found


def _is_below(pid: int, above: int | None, found: dict[int, _Process]) -> bool:
    above = os.getpid() if above is None else above
    if above == 1:
        return True
    while pid in found:
        pid = found[pid].parent
        if pid == above:
            return True
    return False

"""Ends the process when a batch hangs; Spark then starts another worker and retries the task."""

import contextlib
import faulthandler
import os
import sys
import threading
from collections.abc import Iterator

EXIT_CODE = 75
"""EX_TEMPFAIL of sysexits.h: a temporary failure."""


@contextlib.contextmanager
def ends_worker_after(seconds: float | None, what: str) -> Iterator[None]:
    """End this process if the block takes longer than `seconds`, after a dump of every thread's stack to stderr; `what`
    names the batch there.

    A thread that hangs inside C code cannot be interrupted, so only ending the process helps.
    """
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, _end, (seconds, what))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end(seconds: float, what: str) -> None:
    sys.stderr.write(
        f"batch_timeout_s={seconds:g} exceeded in {what}; ending this worker so that its task is retried\n"
    )
    faulthandler.dump_traceback(all_threads=True)
    sys.stderr.flush()
    os._exit(EXIT_CODE)

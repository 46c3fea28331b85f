"""Ends the process when a batch hangs: Spark then starts another worker and tries the task again."""

import contextlib
import faulthandler
import os
import sys
import threading
from collections.abc import Iterator

EXIT_CODE = 75
"""EX_TEMPFAIL: try again."""


@contextlib.contextmanager
def ends_worker_after(seconds: float | None, what: str) -> Iterator[None]:
    """End this process if the block takes longer; `what` names the batch in the worker's stderr, with every stack.

    A thread that hangs inside C code cannot be interrupted, so nothing milder than ending the process helps.
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
        f"batch_timeout_s={seconds:g} passed in {what}; ending this worker so that its task is tried again\n"
    )
    faulthandler.dump_traceback(all_threads=True)
    sys.stderr.flush()
    os._exit(EXIT_CODE)

"""Errors on their way from a worker to the driver: what was raised there is raised here, under its own type.

Spark carries a worker's exception as text, wrapped in a JVM trace of some sixty lines (or in a shortened gRPC message).
So the worker puts one line of JSON into its message, and the driver looks for that line.
"""

import builtins
import json
import re
import traceback

from sparktorch_assets import errors
from sparktorch_assets.errors import SparktorchError

_MARK = re.compile(r"<<sparktorch-assets (\{.*?\}) sparktorch-assets>>", re.DOTALL)
_LOST = re.compile(
    r"Python worker exited unexpectedly|Python worker failed to connect back|ExecutorLostFailure|executor \S+ exited|"
    r"Connection reset|EOFException|SIGKILL|Remote RPC client disassociated",
    re.IGNORECASE,
)
_TRACE_CHARS = 4000


class WorkerTracebackError(Exception):
    """Where in the worker it happened; stands as the cause of the error itself."""

    def __init__(self, text: str) -> None:
        super().__init__(f"in a Spark worker:\n{text}")


def marked(error: Exception, doing: str) -> RuntimeError:
    """What a worker raises in place of `error`.

    Args:
        error: what went wrong.
        doing: what the worker was at.
    """
    trace = "".join(traceback.format_exception(error))[-_TRACE_CHARS:]
    plain = {"type": type(error).__name__, "message": str(error), "doing": doing, "trace": trace}
    return RuntimeError(f"<<sparktorch-assets {json.dumps(plain)} sparktorch-assets>>")


def find_marked(text: str) -> tuple[Exception, WorkerTracebackError] | None:
    """The error that a worker marked, and where it happened there; `None` where there is no mark in the text.

    Raised as this library's or Python's own type where it is one of these, else as `SparktorchError`.
    """
    found = _MARK.search(text)
    if found is None:
        return None
    try:
        plain = json.loads(found[1])
    except ValueError:  # cut off on the way
        return None
    name, message = plain["type"], plain["message"]
    for home in (errors, builtins):
        kind = getattr(home, name, None)
        if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, UnicodeError):
            break
    else:
        kind, message = SparktorchError, f"{name}: {message}"
    return kind(f"{message} [{plain['doing']}]"), WorkerTracebackError(plain["trace"])


def is_lost_worker(text: str) -> bool:
    """Whether a job failed because a process died, rather than because of what it computed."""
    return _LOST.search(text) is not None


def last_line(error: BaseException) -> str:
    """The line of a Spark error that says most: the last one of its Python part, else the first one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    python = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b.*:", line) and "org.apache" not in line]
    return (python or lines or [type(error).__name__])[-1 if python else 0][:1000]

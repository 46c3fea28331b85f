"""Carries errors from a worker to the driver, where they are raised again with their own type.

Spark passes a worker's exception on as text, wrapped in a JVM stack trace of some sixty lines (or in a shortened gRPC
message). So the worker puts one line of JSON into its message, and the driver looks for that line. If an error was
raised outside of that, the driver reads Python's own traceback.
"""

import builtins
import json
import re
import traceback
from dataclasses import dataclass

from sparktorch_assets import errors
from sparktorch_assets.errors import SparktorchError
from sparktorch_assets.storage.hidden import without_store_secrets

_MARK = re.compile(r"<<sparktorch-assets (\{.*?\}) sparktorch-assets>>", re.DOTALL)
_LOST = re.compile(
    r"Python worker exited unexpectedly|Python worker failed to connect back|ExecutorLostFailure|executor \S+ exited|"
    r"Connection reset|EOFException|SIGKILL|Remote RPC client disassociated",
    re.IGNORECASE,
)
_TRACEBACK = "Traceback (most recent call last):"
_NAME = re.compile(r"([^\W\d][\w.<>]*)(?:: (.*))?$", re.DOTALL)
"""Matches an exception as Python prints it: its class with its module, and its text if it has one."""
_CHAINED = re.compile(
    r"\n\nThe above exception was the direct cause of the following exception:\n\n"
    r"|\n\nDuring handling of the above exception, another exception occurred:\n\n"
)
_AFTER = re.compile(r"\n(?:\tat |\s*SQLSTATE: |\s*Driver stacktrace:|\s*JVM stacktrace:|Caused by: )")
"""Matches what Spark writes after a worker's traceback."""
_MESSAGE_CHARS = 10_000
_TRACE_CHARS = 4000
_REASON_CHARS = 1000
_CALL = re.compile(r"An error occurred while calling \S+\n: ")
"""Matches what py4j puts before the text of a Java exception."""
_NO_TEXT = "(no message)"


class WorkerTracebackError(Exception):
    """The traceback in the worker, raised as the cause of the error itself."""

    def __init__(self, text: str) -> None:
        super().__init__(f"in a Spark worker:\n{text}")


@dataclass(frozen=True, slots=True)
class PythonError:
    """The exception at the end of a worker's traceback."""

    kind: str
    """The name of the exception's class."""
    module: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


def marked(error: BaseException, doing: str) -> RuntimeError:
    """The exception that a worker raises instead of `error`, with `from None`: Spark cannot send the text of every
    exception.

    Args:
        error: the exception that occurred.
        doing: what the worker was doing.
    """
    plain = {
        "type": type(error).__name__,
        "module": type(error).__module__,
        "message": without_store_secrets(_text_of(error))[:_MESSAGE_CHARS],
        "doing": doing,
        "trace": without_store_secrets("".join(traceback.format_exception(error)))[-_TRACE_CHARS:],
    }
    # A user's text may contain the mark itself, so `<` and `>` are escaped within it.
    line = json.dumps(plain).replace("<", "\\u003c").replace(">", "\\u003e")
    return RuntimeError(f"<<sparktorch-assets {line} sparktorch-assets>>")


def as_sent(error: Exception) -> Exception:
    """`error` if Spark's worker can send its traceback, else an exception with the same message in valid UTF-8. If a
    worker fails while it reports a failure (for example, of a file whose name cannot be decoded), the job hangs."""
    try:
        "".join(traceback.format_exception(error)).encode()
    except UnicodeEncodeError:
        text = _text_of(error).encode("utf-8", "backslashreplace").decode()
        return (
            type(error)(text)
            if type(error).__module__ == errors.__name__
            else SparktorchError(f"{type(error).__name__}: {text}")
        )
    return error


def find_marked(text: str) -> tuple[Exception, WorkerTracebackError] | None:
    """The error that a worker marked, and its traceback there; `None` if the text contains no mark.

    The error has its own type if that is one of this library's or Python's built-in exceptions, else `SparktorchError`.
    """
    found = _MARK.search(text)
    if found is None:
        return None
    try:
        plain = json.loads(found[1])
    except ValueError:  # it was truncated on the way
        return None
    error = PythonError(plain["type"], plain["module"], plain["message"] or _NO_TEXT)
    return _rebuilt(error, f" [{plain['doing']}]"), WorkerTracebackError(plain["trace"])


def python_error(text: str) -> PythonError | None:
    """The exception at the end of the Python traceback in a Spark error; `None` if there is none."""
    text = _CHAINED.split(text)[-1]
    _, header, after = text.partition(_TRACEBACK)  # the first one: the exception's own text may contain others
    if not header:
        return None
    # In an exception group, every line begins with a `|`.
    lines = [re.sub(r"^\s*[|+] ?", "", line) for line in _AFTER.split(after, maxsplit=1)[0].splitlines()]
    frames = iter(lines)
    for line in frames:
        if line[:1] not in ("", " "):
            found = _NAME.match("\n".join([line, *frames]).strip())
            if found is None:
                return None
            module, _, kind = found[1].rpartition(".")
            return PythonError(kind, module or builtins.__name__, (found[2] or "").strip() or _NO_TEXT)
    return None


def own_error(text: str) -> Exception | None:
    """An error of this library's that a worker raised without a mark, with its own type; `None` for any other error."""
    found = python_error(text)
    return _rebuilt(found) if found is not None and found.module == errors.__name__ else None


def is_lost_worker(text: str) -> bool:
    """Whether a job failed because a process died, rather than because of what it computed."""
    return python_error(text) is None and _LOST.search(text) is not None


def reason_of(error: BaseException) -> str:
    """A Spark error in brief: the exception in its Python traceback, else the first line of its text."""
    text = _CALL.sub("", _text_of(error), count=1)
    found = python_error(text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (str(found) if found else next(iter(lines), type(error).__name__))[:_REASON_CHARS]


def _rebuilt(error: PythonError, tail: str = "") -> Exception:
    """A worker's error as an exception of its own type, if that is this library's or a built-in one whose only argument
    is its text; else as `SparktorchError`. `tail` is appended to the text."""
    home = {errors.__name__: errors, builtins.__name__: builtins}.get(error.module)
    kind = getattr(home, error.kind, None)
    message = error.message + tail
    # SystemExit and StopIteration would mean something else if they were raised in the driver.
    if (
        isinstance(kind, type)
        and issubclass(kind, Exception)
        and not issubclass(kind, StopIteration | StopAsyncIteration)
    ):
        try:
            made = kind(message)
        except TypeError:  # it takes other arguments than a text
            made = None
        if made is not None and str(made) == message:
            return made
    return SparktorchError(f"{error}{tail}")


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  (a user's exception may do anything)
        return f"(its text cannot be shown: {type(error).__qualname__}.__str__ fails)"

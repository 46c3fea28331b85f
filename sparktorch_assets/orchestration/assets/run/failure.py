"""How an asset fails: with the message as the last line that a reader sees, not in the middle of two stack traces.

Dagster prints an error twice, each time with the frames that led to it, and its command line ends with "Materialization
failed". The error itself passes through unchanged, so that `except TableError` works around `dg.materialize`.
"""

import atexit
import logging
import sys
from types import TracebackType
from typing import Self

import click
import dagster as dg

from sparktorch_assets.errors import SparktorchError
from sparktorch_assets.orchestration.assets.text.plain_text import plain_lines
from sparktorch_assets.orchestration.partitions.of_run import retry_of

_LOG = logging.getLogger(__name__)
_COMMANDS = {"dg", "dagster"}


class PlainFailure:
    """A context manager around an asset's work.

    An error of this library's loses the frames inside the library, which say nothing to its user (the logger
    `sparktorch_assets` has them at level DEBUG), and Spark's own exception behind it, whose reason it quotes. The
    traceback of a Spark worker stays, since it may lead through the user's code, and so do all frames of other errors.

    The run's log then names the asset, the reason, and the command that tries again.
    """

    def __init__(self, asset: dg.AssetKey, context: dg.AssetExecutionContext) -> None:
        self._asset, self._context = asset.to_user_string(), context
        self._retry = retry_of(context, asset)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception):  # none, or the run was stopped
            return
        if isinstance(error, SparktorchError):
            _LOG.debug("%s failed", self._asset, exc_info=error)
            _shorten(error)
        said = f"FAILED {self._asset}: {type(error).__name__}: {error}\nTo try again: {self._retry}"
        self._context.log.error(said)
        _say_at_exit(said)


def _shorten(error: BaseException) -> None:
    error.__traceback__ = None
    while error.__cause__ is not None:
        if type(error.__cause__).__module__.split(".")[0] in ("py4j", "pyspark"):
            error.__cause__ = None  # this also hides the context, which is the same exception
            return
        error = error.__cause__


def _say_at_exit(text: str) -> None:
    """Print `text` when the process ends, if that is one of Dagster's commands, whose output ends with it then. A
    notebook or a test goes on after a failure, and has the exception."""
    command = click.get_current_context(silent=True)
    if command is not None and _COMMANDS & set((command.find_root().info_name or "").split()):
        atexit.register(print, f"\n{plain_lines(text)}", file=sys.stderr, flush=True)

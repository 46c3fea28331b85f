"""A run's progress for people: one line when an asset starts and one when it ends, with its own messages in between.

On a terminal, messages of the running asset replace one another on the last line; in a log file, each has its own line.
"""

import logging
from typing import TYPE_CHECKING, Any, TextIO

import dagster as dg

from sparktorch_assets.orchestration.assets.text.plain_text import plain_lines

if TYPE_CHECKING:
    from dagster._core.events import DagsterEvent

_WIDTH = 118
_CLEAR_LINE = "\r\033[K"


class ProgressHandler(logging.Handler):
    """Writes Dagster's log records as progress."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._terminal = stream.isatty()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record: the start or end of a step, or one of the asset's own messages."""
        event: DagsterEvent | None = getattr(record, "dagster_event", None)
        details: dict[str, Any] = getattr(record, "dagster_meta", {})
        if event is not None:
            self._event(event)
        elif record.levelno >= logging.INFO:
            step = str(details.get("step_key") or "")
            message = str(details.get("orig_message") or record.getMessage())
            self._write(f"  {_name(step)}  {message}", passing=record.levelno < logging.WARNING)

    def _event(self, event: "DagsterEvent") -> None:
        if event.event_type == dg.DagsterEventType.STEP_START:
            self._write(f"  {_name(str(event.step_key))}  ...", passing=True)
        elif event.event_type == dg.DagsterEventType.STEP_SUCCESS:
            seconds = event.step_success_data.duration_ms / 1000
            self._write(f"✓ {_name(str(event.step_key))}  {seconds:.1f} s")
        elif event.event_type == dg.DagsterEventType.STEP_FAILURE:
            self._write(f"✗ {_name(str(event.step_key))}  failed")

    def _write(self, text: str, *, passing: bool = False) -> None:
        line = plain_lines(text)
        if not self._terminal:
            self._stream.write(f"{line}\n")
        else:
            self._stream.write(f"{_CLEAR_LINE}{line[:_WIDTH] if passing else line}{'' if passing else chr(10)}")
        self._stream.flush()


def progress_logger(stream: TextIO) -> dg.LoggerDefinition:
    """A Dagster logger that writes progress to `stream`."""

    def make(context: dg.InitLoggerContext) -> logging.Logger:  # noqa: ARG001  (Dagster's signature)
        logger = logging.Logger("sparktorch_assets.progress", level=logging.DEBUG)  # noqa: LOG001  (Dagster's alone)
        logger.addHandler(ProgressHandler(stream))
        return logger

    return dg.LoggerDefinition(make, description="Progress for people")


def _name(step: str) -> str:
    return f"{step.replace('__', '/'):<26}"  # Dagster writes an asset key's slashes as __ in a step's name

"""Isolates failing rows: a failing batch is split (as in group testing) until the rows that make it fail are found, and
the rest of the batch succeeds."""

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from sparktorch_assets.errors import ModelError, SparktorchError
from sparktorch_assets.predict.device_failure import device_error

Rows = npt.NDArray[np.int64]
Result = TypeVar("Result")

PATIENCE_ROWS = 16
"""A step is given up once this many rows failed on their own and as many others, spread over the rest, failed too."""

PATIENCE_SEEN = 256
"""A step is not given up before it has been given this many rows, since a table may begin with bad rows."""

FAN_OUT = 4
"""Number of pieces into which a failing part is split. Compared with halves, quarters need an eighth more calls and
predict half as many rows in vain."""

FEW_ROWS = 32
"""A failing part of at most so many rows is halved, since a call costs more than its rows."""

_MESSAGE_CHARACTERS = 200
_LONGEST_KIND = 80


def is_about_the_row(error: BaseException) -> bool:
    """Whether a row may be the cause of `error`: true for any exception and for a panic of Rust code (a tokenizer's),
    which pyo3 derives from `BaseException`; false for an interrupt or exit."""
    kind = type(error)
    return isinstance(error, Exception) or (kind.__module__, kind.__name__) == ("pyo3_runtime", "PanicException")


@dataclass(frozen=True, slots=True)
class RowFailure:
    """Why a row has no prediction: the stage, the kind of error, and a short message that may quote the row."""

    stage: str
    kind: str
    message: str

    @classmethod
    def of(cls, stage: str, error: BaseException) -> "RowFailure":
        """The failure of a row for which `error` was raised."""
        name = type(error).__name__
        return cls(
            stage, name if name.isidentifier() and len(name) <= _LONGEST_KIND else "Exception", message_of(error)
        )

    @property
    def text(self) -> str:
        """The text of the table's error column."""
        return f"{self.stage}: {self.kind}: {self.message}" if self.message else self.reason

    @property
    def reason(self) -> str:
        """The text for logs and metadata, without the message, which may quote the row's contents."""
        return f"{self.stage}: {self.kind}"


def reason_in(text: str) -> str:
    """The reason (stage and kind of the error) in the text of an error column, without the message, which may quote the
    row."""
    return ": ".join(text.split(": ")[:2])


def message_of(error: BaseException) -> str:
    """The beginning of an exception's message, on one line. The exception's own `__str__` may fail, and the message may
    hold characters that UTF-8 cannot encode."""
    try:
        text = str.__str__(str(error))
    except BaseException as broken:
        if not is_about_the_row(broken):
            raise
        return "its message cannot be shown"
    line = " ".join(text[: 10 * _MESSAGE_CHARACTERS].split())[:_MESSAGE_CHARACTERS]
    return line.encode("utf-8", "replace").decode("utf-8")


class Quarantine:
    """Runs a step over rows and isolates the failing ones, remembering whether any row ever succeeded."""

    def __init__(self, task_name: str) -> None:
        self._task_name = task_name
        self._succeeded: set[str] = set()
        self._seen_rows: dict[str, int] = {}
        self._failed_rows: dict[str, int] = {}
        self._last_error: dict[str, BaseException] = {}

    def run(
        self,
        stage: str,
        rows: Rows,
        step: Callable[[Rows], Result],
        put_back: Callable[[int], None] | None = None,
    ) -> tuple[list[tuple[Rows, Result]], dict[int, RowFailure]]:
        """Run `step` on `rows`; if it raises, on quarters of them, and on halves of few rows, down to single rows.

        When a part fails, its pieces are tried in order up to the first that fails, which is split in turn. The last
        piece is not tried as a whole: if all others succeed, the failing row must be in it. The first time that a
        failing row is found, all rows after it are tried as one part, since usually nothing else is wrong with them.
        One bad row among n costs about 2 log4(n) extra calls, over n rows that have to be predicted anyway and n/4 that
        are wasted: among 1,024 rows, about 10 calls over 1,280 rows.

        Args:
            stage: the step's name in failures and errors.
            rows: row numbers.
            step: called with some of the rows, in order.
            put_back: if it is given, the rows after the first failing row are not tried, but left to a later call:
                `put_back` is called with their number.

        Returns:
            The pieces that succeeded, in order, and the failure of each failed row.

        Raises:
            ModelError: out of at least PATIENCE_SEEN rows, no row ever succeeded: neither PATIENCE_ROWS rows that were
                tried on their own nor as many others, spread over the rest.
            DeviceError: `step` raised that the GPU can no longer be used.
            SparktorchError: raised by `step` itself; such an error is about the task, not about a row.
        """
        pieces: list[tuple[Rows, Result]] = []
        failures: dict[int, RowFailure] = {}
        self._seen_rows[stage] = self._seen_rows.get(stage, 0) + len(rows)
        sampled = False

        def error_of(part: Rows) -> BaseException | None:
            try:
                pieces.append((part, step(part)))
            except SparktorchError:
                raise
            except BaseException as error:
                if not is_about_the_row(error):
                    raise
                if (failed := device_error(error)) is not None:
                    raise failed from error
                return error
            self._succeeded.add(stage)
            return None

        def fails(part: Rows) -> bool:
            nonlocal sampled
            error = error_of(part)
            if error is not None and len(part) == 1:
                failures[int(part[0])] = RowFailure.of(stage, error)
                self._failed_rows[stage] = self._failed_rows.get(stage, 0) + 1
                self._last_error[stage] = error.with_traceback(None)
                if self._doubtful(stage) and not sampled and self._seen_rows[stage] >= PATIENCE_SEEN:
                    sampled = True
                    if all(error_of(row[None]) is not None for row in _spread(rows, failures)):
                        raise self._hopeless(stage)
                    pieces.pop()  # the search will reach this row again
            return error is not None

        untried = [rows] if len(rows) else []
        while untried:
            part, failed_before = untried.pop(), len(failures)
            if fails(part):
                behind = _search(part, fails)
                # With many failing rows, the parts after it grow step by step, so that no row is tried much more often
                # than its depth in the search. The same goes for parts that fail for being large, where no row fails.
                if behind and failed_before == 0 and failures:
                    behind = [np.concatenate(behind[::-1])]
                    if put_back is not None:
                        self._seen_rows[stage] -= len(behind[0])
                        put_back(len(behind[0]))
                        break
                untried += behind
        return pieces, failures

    def finish(self) -> None:
        """Declare that no more rows follow.

        Raises:
            ModelError: a step was given at least PATIENCE_SEEN rows and none succeeded. Fewer rows may be a small bad
                file among large good ones that other workers read; they count against the task's limits instead.
        """
        for stage in self._failed_rows:
            if self._doubtful(stage) and self._seen_rows[stage] >= PATIENCE_SEEN:
                raise self._hopeless(stage)

    def _doubtful(self, stage: str) -> bool:
        return stage not in self._succeeded and self._failed_rows[stage] >= PATIENCE_ROWS

    def _hopeless(self, stage: str) -> ModelError:
        error = self._last_error[stage]
        raised = ModelError(
            f"task {self._task_name!r}: every row that was tried failed in {stage}, {self._failed_rows[stage]:,} of "
            f"them alone, so the cause is not in single rows. The last error: {type(error).__name__}: "
            f"{message_of(error)}"
        )
        raised.__cause__ = error
        return raised


def _spread(rows: Rows, failures: Container[int]) -> Rows:
    """PATIENCE_ROWS of the rows that are not in `failures`, evenly spaced; all of them if there are fewer."""
    others = np.array([row for row in rows.tolist() if row not in failures], dtype=np.int64)
    places = np.linspace(0, len(others) - 1, min(PATIENCE_ROWS, len(others))).astype(np.int64)
    return others[places]


def _search(part: Rows, fails: Callable[[Rows], bool]) -> list[Rows]:
    """Try pieces of `part`, which failed as a whole, until its first failing row is found.

    Returns:
        The rows after that row, not tried yet, in parts: the largest first, the nearest last.
    """
    behind: list[Rows] = []
    while len(part) > 1:
        pieces = FAN_OUT if len(part) > FEW_ROWS else 2
        *tested, last = np.array_split(part, pieces)
        tried = 0
        for piece in tested:
            tried += len(piece)
            if fails(piece):
                behind.append(part[tried:])
                part = piece
                break
        else:
            part = last
            if len(part) == 1:
                fails(part)
    return behind

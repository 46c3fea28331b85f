"""The exceptions that this library raises.

Each message names what was wrong (field, expected, found), where (file, task, column) and the way out. All derive
from `SparktorchError`, so that a flow can catch the whole family; each also derives from the built-in exception that
Python users would expect, so that `except ValueError` keeps working.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sparktorch_assets.spark.score.report.report import ScoreReport


class SparktorchError(Exception):
    """Base of every error that this library raises on purpose."""


class TaskError(SparktorchError, ValueError):
    """A declaration (task, feature, model, input table, storage options) holds a value that cannot work."""


class UnknownTaskError(SparktorchError, LookupError):
    """No task with the requested name was declared."""


class InputSchemaError(SparktorchError, ValueError):
    """The table's columns do not fit the task: one is missing, has the wrong type, or would be overwritten."""


class ModelError(SparktorchError, ValueError):
    """A model cannot be loaded: its weights are missing, altered or refused, or do not fit the architecture or the
    labels."""


class HookError(SparktorchError, ValueError):
    """A user's hook, encoder or factory returned something outside its contract."""


class DeviceError(SparktorchError, RuntimeError):
    """The requested device is not available."""


class HostError(SparktorchError, RuntimeError):
    """This host or the Spark cluster lacks what the work needs (Java, the same Python, a free port, GPU scheduling)."""


class TableError(SparktorchError, RuntimeError):
    """A table cannot be read or written as requested; the version that readers see is unchanged."""


class RowsRejectedError(TableError):
    """An input table's sources contain more malformed rows than it allows; the table stays as it was."""


class RowsVanishedError(TableError):
    """An input table's sources contain far fewer rows than the table; the table stays as it was."""


class CommitConflictError(TableError):
    """Another writer changed the same rows of the table since this run read it."""


class DiskFullError(TableError):
    """The disk became full while a part was being written; nothing was committed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FailureReason:
    """One reason for which rows failed."""

    reason: str
    """The stage and the type of the exception."""
    rows: int
    """Number of rows that failed for it."""
    message: str = ""
    """The `prediction_error` of one of them; empty if the task shows no contents of rows."""
    rows_shown: tuple[str, ...] = ()
    """Values that identify some of them, such as `id=7`."""


class TooManyFailedRowsError(SparktorchError, RuntimeError):
    """More rows failed than the task allows; the table stays as it was."""

    def __init__(self, message: str, *, reasons: Iterable[FailureReason] = ()) -> None:
        super().__init__(message)
        self.reasons = tuple(reasons)
        """The most frequent reasons, if they are known."""


class TooManyDroppedRowsError(SparktorchError, RuntimeError):
    """Hooks dropped more rows than the task allows; the table stays as it was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditOutcome:
    """What one check found before a publication."""

    check: str
    """The check's name."""
    problem: str = ""
    """What is wrong; empty if the check passed."""
    details: Mapping[str, int | float | str] = field(default_factory=dict)
    """The numbers that were compared."""
    overruled: bool = False
    """Whether the check failed and the predictions were published all the same, as somebody asked for."""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem


class AuditFailedError(SparktorchError, RuntimeError):
    """A check before the publication failed; the table stays as it was."""

    def __init__(self, message: str, *, outcomes: Iterable[AuditOutcome] = ()) -> None:
        super().__init__(message)
        self.outcomes = tuple(outcomes)
        """What all checks found that were made, if it is known."""


class PartitionsRefusedError(SparktorchError, RuntimeError):
    """Some partitions of a prediction table were refused and stay as they were; the others are published."""

    def __init__(
        self, message: str, *, refused: Mapping[str, SparktorchError], published: "Iterable[ScoreReport]" = ()
    ) -> None:
        super().__init__(message)
        self.refused = dict(refused)
        """Partition key -> the error for which the partition was refused."""
        self.published = tuple(published)
        """The reports of the other partitions."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the closest known name, then all known names (at most 20).

    >>> nearest("digti", ["digit", "language"])
    "did you mean 'digit'? Known: digit, language"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {listed or 'none'}"

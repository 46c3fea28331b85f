"""What one bad row costs: one row. Cutting a failing batch up finds the rows that make it fail; the rest of the batch goes on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from sparktorch_assets.errors import ModelError, SparktorchError

Rows = npt.NDArray[np.int64]
Result = TypeVar("Result")

PATIENCE_ROWS = 16
"""So many rows failing one after the other, with none that ever succeeded, is the model's fault and not the rows'."""

PIECES = 4
"""A failing batch is cut into so many pieces: about as many calls as halves need, over half of the wasted rows."""

_MESSAGE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class RowFailure:
    """Why a row has no prediction: the stage, the kind of error, and a short message that may quote the row."""

    stage: str
    kind: str
    message: str

    @classmethod
    def of(cls, stage: str, error: BaseException) -> "RowFailure":
        """The failure that `error` stands for."""
        return cls(stage, type(error).__name__, " ".join(str(error).split())[:_MESSAGE_CHARACTERS])

    @property
    def text(self) -> str:
        """What the table's error column says."""
        return f"{self.stage}: {self.kind}: {self.message}" if self.message else self.reason

    @property
    def reason(self) -> str:
        """What logs and metadata say: never the message, which may hold the row's contents."""
        return f"{self.stage}: {self.kind}"


class Quarantine:
    """Runs a step over rows and sets the failing ones apart, remembering whether any row ever got through."""

    def __init__(self, task_name: str) -> None:
        self._task_name = task_name
        self._succeeded: set[str] = set()
        self._failed_rows: dict[str, int] = {}

    def run(
        self, stage: str, rows: Rows, step: Callable[[Rows], Result]
    ) -> tuple[list[tuple[Rows, Result]], dict[int, RowFailure]]:
        """Run `step` on `rows`; where it raises, on quarters of them, down to single rows.

        When a part fails, its quarters are tried in order up to the first that fails, which is cut up in turn. The last
        quarter is not tried as a whole: with all others fine, the failing row is in it. What lies behind the row that
        is found is tried as one part, the first time: mostly nothing else is wrong with it. One bad row among n costs
        about 2 log4(n) further calls, over n rows that are predicted anyway and n/4 that are not.

        Returns:
            The pieces that succeeded, in order, and per failed row its failure.

        Raises:
            ModelError: the first PATIENCE_ROWS rows that were tried alone all failed, and none ever succeeded.
            SparktorchError: raised by `step` itself: such an error is about the task, not about a row.
        """
        pieces: list[tuple[Rows, Result]] = []
        failures: dict[int, RowFailure] = {}

        def fails(part: Rows) -> bool:
            try:
                pieces.append((part, step(part)))
            except SparktorchError:
                raise
            except Exception as error:  # noqa: BLE001  (whatever the user's code raises is the row's failure)
                if len(part) == 1:
                    failures[int(part[0])] = RowFailure.of(stage, error)
                    self._give_up_if_hopeless(stage, error)
                return True
            self._succeeded.add(stage)
            return False

        untried = [rows] if len(rows) else []
        while untried:
            part = untried.pop()
            if fails(part):
                behind = _search(part, fails)
                # Many failing rows: ever larger parts, so that no row is tried much more often than its depth.
                if len(failures) <= 1 and behind:
                    behind = [np.concatenate(behind[::-1])]
                untried += behind
        return pieces, failures

    def _give_up_if_hopeless(self, stage: str, error: Exception) -> None:
        self._failed_rows[stage] = self._failed_rows.get(stage, 0) + 1
        if stage not in self._succeeded and self._failed_rows[stage] >= PATIENCE_ROWS:
            raise ModelError(
                f"task {self._task_name!r}: the first {PATIENCE_ROWS} rows all failed in {stage}, so this is not about "
                f"single rows. The last error: {type(error).__name__}: {error}"
            ) from error


def _search(part: Rows, fails: Callable[[Rows], bool]) -> list[Rows]:
    """Try pieces of `part`, which failed as a whole, down to its first failing row.

    Returns:
        What lies behind that row, not tried yet: large parts first, the nearest last.
    """
    behind: list[Rows] = []
    while len(part) > 1:
        *quarters, last = np.array_split(part, min(PIECES, len(part)))
        tried = 0
        for quarter in quarters:
            tried += len(quarter)
            if fails(quarter):
                behind.append(part[tried:])
                part = quarter
                break
        else:
            part = last
            if len(part) == 1:
                fails(part)
    return behind

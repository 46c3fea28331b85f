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
"""A failing batch is cut into so many pieces: about as many calls as halves need, over two thirds of the rows."""

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

        A batch of n rows with one bad row costs about 4 log4(n) further calls, over 4/3 n rows in all.

        Returns:
            The pieces that succeeded, in order, and per failed row its failure.

        Raises:
            ModelError: the first PATIENCE_ROWS rows that were tried alone all failed, and none ever succeeded.
            SparktorchError: raised by `step` itself: such an error is about the task, not about a row.
        """
        pieces: list[tuple[Rows, Result]] = []
        failures: dict[int, RowFailure] = {}
        stack = [rows] if len(rows) else []
        while stack:
            part = stack.pop()
            try:
                result = step(part)
            except SparktorchError:
                raise
            except Exception as error:  # noqa: BLE001  (whatever the user's code raises is the row's failure)
                if len(part) == 1:
                    failures[int(part[0])] = RowFailure.of(stage, error)
                    self._give_up_if_hopeless(stage, error)
                else:
                    size = -(-len(part) // PIECES)
                    stack += [part[start : start + size] for start in range(0, len(part), size)][::-1]
            else:
                self._succeeded.add(stage)
                pieces.append((part, result))
        return pieces, failures

    def _give_up_if_hopeless(self, stage: str, error: Exception) -> None:
        self._failed_rows[stage] = self._failed_rows.get(stage, 0) + 1
        if stage not in self._succeeded and self._failed_rows[stage] >= PATIENCE_ROWS:
            raise ModelError(
                f"task {self._task_name!r}: the first {PATIENCE_ROWS} rows all failed in {stage}, so this is not about "
                f"single rows. The last error: {type(error).__name__}: {error}"
            ) from error

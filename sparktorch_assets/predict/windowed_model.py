"""The contract between the pipeline and a model: what happens to a window of rows, and in which thread."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import pyarrow as pa

from sparktorch_assets.predict.failures import Quarantine
from sparktorch_assets.predict.predictions import Predictions
from sparktorch_assets.tally import Tally

PreparedT = TypeVar("PreparedT")
"""A window between `prepare` and `start`."""
StartedT = TypeVar("StartedT")
"""A window between `start` and `finish`."""


class WindowedModel(Protocol[PreparedT, StartedT]):
    """A model during one run over rows, which it gets in windows.

    Every window goes through `prepare`, `start` and `finish`, and windows go through each of these in the order of
    their rows. With `in_flight` 1 and without overlapping stages, three windows are handled as follows::

        prepare 0, start 0, prepare 1, start 1, finish 0, prepare 2, start 2, finish 1, end, finish 2

    Where stages overlap, one thread reads rows and encodes them, ahead of another that predicts. The thread that
    encodes reads `columns` and `window_rows`, calls `prepare`, and uses nothing else. The thread that predicts calls
    `start`, `finish` and `end`, and reads `in_flight` and `undecided`. The network, the device and what is learnt
    about batch sizes (the `BatchSizer`) belong to the thread that predicts, and are changed only in `start` and `end`.
    The two threads share `window_rows`, which is assigned at the end of `start`; the `quarantine`, of which each uses
    its own stage; and a key's `tally`, in which each adds to its own phases.
    """

    @property
    def columns(self) -> Sequence[str] | None:
        """The columns that `prepare` needs; `None` for all."""
        ...

    @property
    def window_rows(self) -> int:
        """Number of rows of the next window; it may change from window to window."""
        ...

    @property
    def in_flight(self) -> int:
        """Number of windows that are started, but not finished, before the next one is started; 0 for a model that
        works synchronously."""
        ...

    @property
    def undecided(self) -> bool:
        """Whether the model may still refuse the whole run. As long as it may, windows that have been started are held
        back, up to `pipeline.HELD_WINDOWS` of them."""
        ...

    def prepare(self, batch: pa.RecordBatch, quarantine: Quarantine, tally: Tally) -> PreparedT:
        """Turn the rows of a window into what the model computes with.

        Args:
            batch: the window's rows, with those of the `columns` that the input has.
            quarantine: finds the rows that make a step raise; they become failures of the window.
            tally: the seconds are added to it.
        """
        ...

    def start(
        self, prepared: PreparedT, quarantine: Quarantine, tally: Tally, on_rows: Callable[[int], None]
    ) -> StartedT:
        """Start predicting a window.

        Args:
            prepared: the window, from `prepare`.
            quarantine: finds the rows that make a step raise; they become failures of the window.
            tally: seconds, batch sizes and splits are added to it.
            on_rows: called with the number of rows of each batch, once it is launched.

        Raises:
            ModelError: the model cannot predict any rows.
        """
        ...

    def finish(self, started: StartedT, tally: Tally) -> Predictions:
        """Wait for the predictions of a window: one for each row that `prepare` got, in order."""
        ...

    def end(self, tally: Tally) -> None:
        """Called once, after the last window has been started.

        Raises:
            ModelError: the model refuses the run.
        """
        ...

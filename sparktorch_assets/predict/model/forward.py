"""Launches the forward passes of a run: cuts windows into batches, halves batches that do not fit into memory, and
finds the rows that make their batch raise.

Shapes: N rows of a window, B rows of a batch.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparktorch_assets.predict.batches.out_of_memory import is_out_of_memory
from sparktorch_assets.predict.batches.packing import PackedBatches
from sparktorch_assets.predict.batches.shared_limits import SharedLimits
from sparktorch_assets.predict.batches.sizer import BatchSizer
from sparktorch_assets.predict.encode.encoded import EncodedFeature
from sparktorch_assets.predict.failures import Quarantine, RowFailure, Rows
from sparktorch_assets.predict.model.network import Network
from sparktorch_assets.predict.model.transfer import PendingOutputs
from sparktorch_assets.predict.model.watchdog import ends_worker_after
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.ml_task import MlTask


@dataclass(frozen=True, slots=True)
class PendingBatch:
    """A batch that was launched; on a GPU, it may still be running."""

    positions: Rows
    """The positions of its rows in the window's encoded features."""
    outputs: PendingOutputs


class BatchLauncher:
    """Launches the batches of one run. Only the thread that predicts may use it, and with it the sizer.

    Args:
        task: the run's task, for its name and its `batch_timeout_s`.
        network: runs the batches.
        sizer: says how large the next batch may be, and learns from each batch.
        shared_limits: what fits into memory is written there for other processes; `None` keeps it here.
        numbers: numbers the batches of this process, for messages.
    """

    def __init__(
        self,
        task: MlTask,
        network: Network,
        sizer: BatchSizer,
        shared_limits: SharedLimits | None,
        numbers: Iterator[int],
    ) -> None:
        self.sizer = sizer
        self._name = f"task {task.name!r}"
        self._timeout_s = task.batch.batch_timeout_s
        self._network = network
        self._shared_limits = shared_limits
        self._numbers = numbers
        self._pending: deque[PendingOutputs] = deque()

    @property
    def in_flight(self) -> int:
        """Number of batches that are launched, but not fetched, before the next one is launched: a GPU is never
        idle."""
        return 1 if self._network.transfer.asynchronous else 0

    def launch(
        self,
        features: list[EncodedFeature],
        positions: Rows,
        quarantine: Quarantine,
        tally: Tally,
        on_rows: Callable[[int], None],
    ) -> tuple[list[PendingBatch], dict[int, RowFailure]]:
        """Launch these rows of a window, in batches.

        Args:
            features: the window's feature groups, in the order of `forward`'s arguments.
            positions: the positions of the rows in `features`.
            quarantine: finds the rows that make their batch raise.
            tally: batch sizes and splits are added to it.
            on_rows: called with the number of rows of each batch that was launched.

        Returns:
            The batches, and the failures by position.

        Raises:
            ModelError: the network cannot predict any rows, or its agreement with fp32 is too low.
        """
        lengths = [feature.lengths_N for feature in features if feature.lengths_N is not None]
        lengths_N = np.sum(lengths, axis=0) + self._network.new_tokens if lengths else None
        launched: list[PendingBatch] = []
        failures: dict[int, RowFailure] = {}
        packed = PackedBatches(positions, lengths_N, self.sizer)
        for batch in packed:
            # The rows behind a failing one join the next batch, which saves a call. They do so once, lest many failing
            # rows make a large batch fail for each of them; and not while the best size is sought, by whole batches.
            once = None if self.sizer.searching or packed.continues else packed.put_back
            parts, failed = quarantine.run(
                "forward", batch, lambda rows: self._launch_halving(features, rows, lengths_N, tally, on_rows), once
            )
            tried = batch[: len(batch) - packed.returned]
            self.sizer.failed(len(failed), _padded(tried, _longest(tried, lengths_N)))
            failures |= failed
            for _, batches in parts:
                launched += batches
                self._pending += [one.outputs for one in batches]
            while len(self._pending) > self.in_flight:
                self._pending.popleft().fetch()
        return launched, failures

    def end(self) -> None:
        """Declare that the last batch was launched, and tell other processes what fits into memory."""
        if self._shared_limits is not None:
            self._shared_limits.write(self.sizer.max_rows_by_length)

    def _launch_halving(
        self,
        features: list[EncodedFeature],
        positions: Rows,
        lengths_N: npt.NDArray[np.int64] | None,
        tally: Tally,
        on_rows: Callable[[int], None],
    ) -> list[PendingBatch]:
        """Launch rows as one batch; if it does not fit into memory, as halves, down to single rows."""
        launched: list[PendingBatch] = []
        remaining = [positions]
        while remaining:
            rows = remaining.pop()
            longest = _longest(rows, lengths_N)
            outputs = self._launch_one(features, rows, longest)
            if outputs is None:
                self._out_of_memory(len(rows), longest)
                tally.splits += 1
                middle = len(rows) // 2
                remaining += [rows[middle:], rows[:middle]]
                continue
            tally.batch_sizes[str(len(rows))] = tally.batch_sizes.get(str(len(rows)), 0) + 1
            launched.append(PendingBatch(rows, outputs))
            on_rows(len(rows))
        return launched

    def _launch_one(self, features: list[EncodedFeature], positions: Rows, longest: int) -> PendingOutputs | None:
        """Launch one batch; `None` if it does not fit into memory. A single row that does not fit raises, and so is a
        failed row."""
        started = time.perf_counter()
        what = f"{self._name}, batch {next(self._numbers)} of this worker, {len(positions)} rows"
        try:
            with ends_worker_after(self._timeout_s, what):
                outputs = self._network.run(features, positions, longest)
                if self.sizer.searching or self._timeout_s is not None:
                    self._network.transfer.wait()
        except Exception as error:
            if not is_out_of_memory(error) or len(positions) == 1:
                raise
            return None  # the caller retries, since the traceback still holds the tensors that filled the memory
        self.sizer.measured(_padded(positions, longest), time.perf_counter() - started)
        self.sizer.fitted(len(positions), longest)
        return outputs

    def _out_of_memory(self, rows: int, longest: int) -> None:
        self._network.transfer.free()
        self.sizer.out_of_memory(rows, longest)
        if self._shared_limits is not None:
            self._shared_limits.write(self.sizer.max_rows_by_length)


def _longest(positions: Rows, lengths_N: npt.NDArray[np.int64] | None) -> int:
    """Number of tokens of the longest of the rows; 0 if rows have no lengths."""
    return 0 if lengths_N is None else int(lengths_N[positions].max(initial=0))


def _padded(positions: Rows, longest: int) -> int:
    """Number of tokens of the rows as one batch, including padding; the number of rows if they have no lengths."""
    return len(positions) * max(1, longest)

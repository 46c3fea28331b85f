"""Watches the progress of a run from the driver, by listing the table's folder: parts appear there as shards are
finished, and each pack at work leaves a hint with its number of finished rows. This works with Spark Connect as well,
where a driver has no accumulators.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from sparktorch_assets.lake.files.partition_entries import partition_entries
from sparktorch_assets.lake.plan import Plan
from sparktorch_assets.spark.score.job.rows_hint import read_hint
from sparktorch_assets.spark.score.progress.pace import Pace
from sparktorch_assets.spark.score.progress.progress_bar import ProgressBar
from sparktorch_assets.spark.score.report.report import Progress

_LOG = logging.getLogger(__name__)
INTERVAL_S = 2.0


class ProgressWatch:
    """Calls `on_progress` every `interval_s` seconds while the context is open, and once at its end."""

    def __init__(
        self, plans: Sequence[Plan], on_progress: Callable[[Progress], None] | None, *, interval_s: float = INTERVAL_S
    ) -> None:
        """Start nothing yet.

        Args:
            plans: the plans that are being carried out, all of one table.
            on_progress: called from a separate thread; an exception ends the calls, but not the run. `None` draws a bar
                if stderr is a terminal.
            interval_s: seconds between two calls.
        """
        self._bar = ProgressBar(sys.stderr) if on_progress is None and sys.stderr.isatty() else None
        self._on_progress = self._bar or on_progress
        self._folder, self._interval_s = plans[0].table.folder, interval_s
        self._watching = threading.Lock()
        self.watch(plans)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="score-progress", daemon=True)

    def __enter__(self) -> Self:
        if self._on_progress is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._on_progress is not None:
            self._thread.join()
            if error is None:
                self._tell()
        if self._bar is not None:
            self._bar.close()

    def watch(self, plans: Sequence[Plan]) -> None:
        """Watch these plans from now on, and nothing else: the same refresh, cut into other shards."""
        with self._watching:
            self._within = {plan.partition for plan in plans if plan.new}
            self._rows_of = {shard.part_path: shard.rows for plan in plans for shard in plan.new}
            self._total = sum(self._rows_of.values())
            self._start = time.perf_counter()
            self._done, self._pace = 0, Pace(self._total)

    def rows_done(self) -> int:
        """The number of rows in finished parts, plus those that packs at work have reported; it never decreases while
        the same plans are watched."""
        done: dict[str, int] = {}
        for entry in partition_entries(self._folder, self._within):
            hint = read_hint(entry.path)
            path, rows = hint or (entry.path, self._rows_of.get(entry.path, 0))
            if path in self._rows_of:  # a hint may count rows of later shards of its pack as well
                done[path] = max(done.get(path, 0), rows)
        self._done = max(self._done, min(sum(done.values()), self._total))
        return self._done

    def _watch(self) -> None:
        while not self._stop.wait(self._interval_s):
            if not self._tell():
                return

    def _tell(self) -> bool:
        assert self._on_progress is not None
        try:
            with self._watching:
                done = self.rows_done()
                left_s = self._pace.look(time.perf_counter() - self._start, done)
                found = Progress(rows_done=done, rows_total=self._total, rows_per_s=self._pace.rows_per_s, eta_s=left_s)
            self._on_progress(found)
        except Exception:  # noqa: BLE001  (whatever a user's callback raises, the run matters more than its progress)
            _LOG.warning("progress reports stopped", exc_info=True)
            return False
        return True

"""Progress of a run, seen from the driver alone: parts appear in the table's folder as shards are finished. That works
on Spark Connect as well, where a driver sees neither stages nor accumulators.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from sparktorch_assets.lake.folder import Folder
from sparktorch_assets.spark.score_report import Progress

_LOG = logging.getLogger(__name__)
INTERVAL_S = 2.0


class ProgressWatch:
    """Calls `on_progress` every `interval_s` seconds while the context is open, and once at its end."""

    def __init__(
        self,
        table: str,
        rows_of: Mapping[str, int],
        on_progress: Callable[[Progress], None] | None,
        *,
        interval_s: float = INTERVAL_S,
    ) -> None:
        """Start nothing yet.

        Args:
            table: the folder that parts appear in.
            rows_of: path of an awaited part -> input rows that it stands for.
            on_progress: called from a thread of its own; an exception ends the calls, not the run.
            interval_s: seconds between two calls.
        """
        self._folder, self._rows_of = Folder(table), rows_of
        self._on_progress, self._interval_s = on_progress, interval_s
        self._total = sum(rows_of.values())
        self._start = time.perf_counter()
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

    def _watch(self) -> None:
        while not self._stop.wait(self._interval_s):
            if not self._tell():
                return

    def _tell(self) -> bool:
        assert self._on_progress is not None
        try:
            entries = self._folder.files(recursive=False)
            done = sum(self._rows_of.get(entry.path, 0) for entry in entries)
            seconds = time.perf_counter() - self._start
            rate = done / seconds if seconds else 0.0
            self._on_progress(
                Progress(
                    rows_done=done,
                    rows_total=self._total,
                    rows_per_s=rate,
                    eta_s=(self._total - done) / rate if rate else None,
                )
            )
        except Exception:  # noqa: BLE001  (whatever a user's callback raises: the run is worth more than its bar)
            _LOG.warning("progress reports stopped", exc_info=True)
            return False
        return True

"""Estimates the speed of a run and the time left, from counts that arrive irregularly and in steps."""

import math
from collections import deque

WINDOW_S = 60.0
"""The speed is measured over the last minute, or over the last quarter of the run if that is longer."""
SETTLES_S = 20.0
"""Time constant with which the time left follows a new estimate (exponential smoothing); shorter at first, when little
is known."""


class Pace:
    """Rows per second, and seconds left.

    The speed is measured between changes of the count, not up to now, because nothing is known between two steps. The
    time left runs down with the clock, and approaches the estimate from the speed gradually, so that it does not jump
    at a step.
    """

    def __init__(self, rows_total: int) -> None:
        self._total = rows_total
        self._changes: deque[tuple[float, int]] = deque([(0.0, 0)])
        self._longest_s = 0.0
        """The longest time between two changes so far; if a change takes much longer, the run has slowed down."""
        self._looked_s, self._first_s, self._left_s = 0.0, 0.0, math.nan
        self.rows_per_s = 0.0

    def look(self, seconds: float, rows_done: int) -> float | None:
        """Record the number of finished rows, `seconds` after the start.

        Returns:
            The seconds left; `None` until the count has changed twice.
        """
        if rows_done <= 0:
            return None
        if rows_done > self._changes[-1][1]:
            if self._changes[-1][1] > 0:
                self._longest_s = max(self._longest_s, seconds - self._changes[-1][0])
            self._changes.append((seconds, rows_done))
            while len(self._changes) > 3 and self._changes[1][0] < seconds - max(WINDOW_S, seconds / 4):
                self._changes.popleft()
        self.rows_per_s = self._speed(seconds)
        if rows_done >= self._total:
            return 0.0
        if len(self._changes) < 3:  # the time of the first rows includes the start of the workers and of the model
            return None
        estimate = (self._total - rows_done) / self.rows_per_s
        since, self._looked_s = seconds - self._looked_s, seconds
        if math.isnan(self._left_s):
            self._left_s, self._first_s = estimate, seconds
        else:
            by_clock = max(0.0, self._left_s - since)
            settles_s = min(SETTLES_S, (seconds - self._first_s) / 3)
            self._left_s = by_clock + (estimate - by_clock) * (1 - math.exp(-since / max(settles_s, 1e-6)))
        return self._left_s

    def _speed(self, seconds: float) -> float:
        first_s, first = self._changes[0 if len(self._changes) == 2 or self._changes[0][1] else 1]
        last_s, last = self._changes[-1]
        if seconds - last_s > 2 * self._longest_s:
            last_s = seconds
        return (last - first) / max(last_s - first_s, 1e-6)

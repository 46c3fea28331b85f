"""A progress bar on a terminal: one line that is redrawn in place."""

from typing import TextIO

from sparktorch_assets.spark.score.report.report import Progress

_CELLS = 30
_CLEAR_LINE = "\r\033[K"


class ProgressBar:
    """Draws progress on a terminal's last line; can be passed to `score_table` as `on_progress`."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal, self._drawn = terminal, False

    def __call__(self, progress: Progress) -> None:
        """Redraw the line."""
        filled = _CELLS * progress.rows_done // max(progress.rows_total, 1)
        self._terminal.write(f"{_CLEAR_LINE}{'█' * filled}{'░' * (_CELLS - filled)} {progress}")
        self._terminal.flush()
        self._drawn = True

    def close(self) -> None:
        """Keep the last state on the screen, and move the cursor below it."""
        if self._drawn:
            self._terminal.write("\n")
            self._terminal.flush()

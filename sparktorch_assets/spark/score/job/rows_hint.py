"""Tells the driver how far a pack has got, by the name of an empty file next to the part that is being written."""

import contextlib
import logging
import re
import threading
import time
import uuid

from sparktorch_assets.lake.files.folder import Folder

_LOG = logging.getLogger(__name__)
INTERVAL_S = 2.0
_HINT = re.compile(r"(.*/)?\.(part-[0-9a-f]{32}\.parquet)\.([0-9]+)-[0-9a-f]{12}\.rows\.tmp")


class RowsHint:
    """An empty file whose name contains the number of finished rows of a shard and of the shards after it in its pack.
    It is renewed at most every `interval_s` seconds. It can be used from any thread.

    It is named like a part's temporary file, so that a vacuum deletes what a killed worker left behind.
    """

    def __init__(self, folder: Folder, part_path: str, *, interval_s: float | None = None) -> None:
        self._folder, self._last = folder, time.monotonic()
        self._interval_s = INTERVAL_S if interval_s is None else interval_s
        head, slash, name = part_path.rpartition("/")
        self._prefix, self._id, self._path = f"{head}{slash}.{name}", uuid.uuid4().hex[:12], ""
        self._lock, self._cleared = threading.Lock(), False

    def tell(self, rows: int) -> None:
        """Report the number of finished rows."""
        if time.monotonic() - self._last < self._interval_s:
            return
        with self._lock:
            if not self._cleared:
                self._tell(rows)

    def settle(self, rows: int) -> None:
        """Report the shard's own rows, if anything was reported: its part is complete and waits for the disk, and what
        is finished of later shards is in their hint."""
        with self._lock:
            if self._path:
                self._tell(rows)

    def _tell(self, rows: int) -> None:
        now = time.monotonic()
        old, self._path, self._last = self._path, f"{self._prefix}.{rows}-{self._id}.rows.tmp", now
        try:
            if not old:
                self._folder.create(self._path.rpartition("/")[0])
            if old != self._path:
                self._folder.open_output(self._path).close()
                if old:
                    self._folder.delete(old)
        except OSError:  # if the disk is full, writing the part reports it
            _LOG.debug("no progress hint", exc_info=True)

    def clear(self) -> None:
        """Delete the file, and report nothing more."""
        with self._lock:
            self._cleared = True
            if self._path:
                with contextlib.suppress(OSError):
                    self._folder.delete(self._path)
                self._path = ""


def read_hint(path: str) -> tuple[str, int] | None:
    """The part's path and the number of finished rows, if `path` is that of a hint; else `None`.

    >>> read_hint("ds=1/.part-0123456789abcdef0123456789abcdef.parquet.500-0123456789ab.rows.tmp")
    ('ds=1/part-0123456789abcdef0123456789abcdef.parquet', 500)
    """
    found = _HINT.fullmatch(path)
    return (f"{found[1] or ''}{found[2]}", int(found[3])) if found else None

"""Shares the batch sizes that fit into memory among all slots of a host, and with later runs on it.

They are kept in a small file per model and device type.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sparktorch_assets.private_folder import PrivateFolder


class SharedLimits:
    """Rows per length bucket that are known to fit, shared by the processes of a host."""

    def __init__(self, key: str, folder: Path | None = None) -> None:
        self._folder = PrivateFolder(folder or Path(tempfile.gettempdir()) / f"sparktorch-memory-{os.getuid()}")
        self._name = f"{key}.json"
        self._last: dict[int, int] = {}
        """What this process last read or wrote."""

    def read(self) -> dict[int, int]:
        """The rows per length bucket that are known to fit; empty if no process has run out of memory yet, the file is
        damaged, or its folder belongs to another user."""
        try:
            found = json.loads(self._folder.read(self._name))
            self._last = {int(bucket): int(rows) for bucket, rows in found.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            self._last = {}
        return dict(self._last)

    def write(self, max_rows_by_length: Mapping[int, int]) -> None:
        """Replace what is known, if it has changed. No lock is taken, since losing a race with a sibling costs only one
        more halving."""
        if max_rows_by_length == self._last:
            return
        self._last = dict(max_rows_by_length)
        with contextlib.suppress(OSError):  # a host without a writable temporary folder finds the sizes again each time
            self._folder.replace(self._name, json.dumps(self._last).encode())

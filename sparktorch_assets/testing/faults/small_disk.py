"""A disk of its own for a test: it can be filled and set read-only without harm to anything else."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparktorch_assets.errors import HostError

_BLOCK_BYTES = 4096
_BUSY_S = 10.0


class SmallDisk:
    """A mounted file system; see `small_disk`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / ".ballast"

    @property
    def free_bytes(self) -> int:
        """The room that is left."""
        return shutil.disk_usage(self.folder).free

    def fill(self, *, leave_bytes: int = 0) -> None:
        """Take up all the room but `leave_bytes`."""
        with self._ballast.open("ab") as file:
            file.write(b"\0" * max(0, (self.free_bytes - leave_bytes) // _BLOCK_BYTES * _BLOCK_BYTES))

    def make_room(self) -> None:
        """Give back what `fill` took."""
        self._ballast.unlink(missing_ok=True)

    def set_read_only(self) -> None:
        """Refuse every write from now on, as a kernel does after errors of the disk.

        Raises:
            HostError: a file stays open for writing for ten seconds.
        """
        until = time.monotonic() + _BUSY_S
        while True:
            try:
                _run("mount", "-o", "remount,ro", str(self.folder))
            except HostError:
                if time.monotonic() >= until:
                    raise
                time.sleep(0.05)  # another thread may be about to close what it writes
            else:
                return

    def set_writable(self) -> None:
        """Undo `set_read_only`."""
        _run("mount", "-o", "remount,rw", str(self.folder))


@contextmanager
def small_disk(folder: Path | str, *, size_bytes: int = 2 << 20) -> Iterator[SmallDisk]:
    """Mount a file system of that size, in memory, at `folder`; what it holds is gone when the block is left.

    Args:
        folder: an empty folder; created if it does not exist.
        size_bytes: its room.

    Raises:
        HostError: it cannot be mounted: only root can, and not in every container.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0 or shutil.which("mount") is None:
        raise HostError(f"cannot mount a small disk at {str(path)!r}: this needs root, and the program mount")
    _run("mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(path))
    try:
        yield SmallDisk(path)
    finally:
        _run("umount", "-l", str(path))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HostError(f"{' '.join(command)} failed: {done.stderr.strip()}")

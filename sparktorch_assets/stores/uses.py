"""Who uses which copies of models on this host, and which of them go when there are too many.

Each copy has a file in the folder `uses` of the cache: it holds the copy's path, its modification time is that of the last
use, and every process that uses the copy keeps a shared lock on it for as long as it lives. A copy is deleted under an
exclusive lock, so one that a living process uses stays, whatever its age.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sparktorch_assets.stores.cache import key_of

_LOG = logging.getLogger(__name__)
_FOLDER = "uses"
_held: dict[tuple[int, Path], int] = {}
"""The open files of the copies that this process uses, by process and path: a fork has to lock for itself."""
_holding = threading.Lock()


def use(cache: Path, copies: Iterable[str]) -> None:
    """Note that this process uses these copies from now on until it ends, whether or not they are there yet.

    Args:
        cache: the folder of this host's copies.
        copies: paths of files or folders, relative to it.
    """
    folder = cache / _FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for copy in copies:
        path = folder / key_of(copy)
        with _holding:
            if (os.getpid(), path) not in _held:
                _held[os.getpid(), path] = _locked(path, copy)
        with contextlib.suppress(OSError):
            os.utime(path)


def make_room(cache: Path, most_bytes: int, needed_bytes: int = 0) -> None:
    """Delete copies, the least recently used first, until the others and `needed_bytes` more take at most `most_bytes`, or
    living processes use all that are left."""
    copies = [copy for path in (cache / _FOLDER).glob("*") if (copy := _copy_of(cache, path)) is not None]
    copies.sort(key=lambda copy: copy.used_s)
    total = needed_bytes + sum(copy.size_bytes for copy in copies)
    for copy in copies:
        if total <= most_bytes:
            return
        with _all_unused([other for other in copies if other.overlaps(copy)]) as unused:
            if unused:
                _delete(copy.path)
                copy.use.unlink(missing_ok=True)
                total -= copy.size_bytes
    if total > most_bytes:
        _LOG.warning(
            "the copies of models in %s take %s bytes, more than the %s that they may, and processes of this host use all of "
            "them; raise model_cache_gb of the model loader, or run fewer models at a time",
            cache, f"{total:,}", f"{most_bytes:,}",
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class _Copy:
    """A copy that somebody has used."""

    use: Path
    path: Path
    used_s: float
    size_bytes: int

    def overlaps(self, other: "_Copy") -> bool:
        """Whether one of the two is in the other one, or is it."""
        return self.path.is_relative_to(other.path) or other.path.is_relative_to(self.path)


def _locked(path: Path, copy: str) -> int:
    while True:
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(opened, fcntl.LOCK_SH)
        if os.fstat(opened).st_nlink:  # else the copy was deleted while this process waited
            os.pwrite(opened, copy.encode(), 0)  # whoever else writes it writes the same
            return opened
        os.close(opened)


@contextmanager
def _all_unused(copies: Iterable[_Copy]) -> Iterator[bool]:
    """Hold the locks of all of these copies in the block; yields whether nobody else has one."""
    with ExitStack() as opened:
        try:
            for copy in copies:
                fcntl.flock(opened.enter_context(copy.use.open("a")), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _copy_of(cache: Path, use: Path) -> _Copy | None:
    with contextlib.suppress(OSError):
        named = use.read_text()
        if named:
            path = cache / named
            return _Copy(use=use, path=path, used_s=use.stat().st_mtime, size_bytes=_size(path))
    return None


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file() and not file.is_symlink()]
    return sum(file.stat().st_size for file in files)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)

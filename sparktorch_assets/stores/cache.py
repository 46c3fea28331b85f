"""The folder of this host in which copies of remote models are kept, shared by all processes of one user.

A copy appears under its name in one step, once it is complete, so that a process that is killed leaves nothing that
looks finished. Processes that want the same copy wait for the one that fetches it.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sparktorch_assets.errors import HostError
from sparktorch_assets.private_folder import PrivateFolder, cache_folders, require_private

CACHE_VARIABLE = "SPARKTORCH_MODEL_CACHE"
"""Environment variable that names the folder of the copies on a host."""
_UNUSED_S = 30 * 24 * 3600
"""A copy that nobody has asked for in this long is deleted when the next one is made."""
_TEMPORARY = ".tmp-"


def cache_folder(declared: str = "") -> Path:
    """The folder of the copies: the one that the environment variable names, else `declared`, else
    `sparktorch_assets/models` in the user's folder for caches (`XDG_CACHE_HOME`, or `~/.cache`), or in the temporary
    directory if the user has no home.

    Raises:
        HostError: other users of this host could write there, or it cannot be created.
    """
    chosen = os.environ.get(CACHE_VARIABLE) or declared
    path = Path(chosen).expanduser().absolute() if chosen else _default_folder()
    try:
        require_private(path)
    except OSError as error:
        raise HostError(
            f"models are not copied to {path}: {error}. Set {CACHE_VARIABLE} (or ModelLoaderResource.model_cache) to a "
            f"folder that belongs to this user alone"
        ) from error
    return path


def _default_folder() -> Path:
    *lasting, temporary = cache_folders()
    return next((folder for folder in lasting if _can_be_made(folder)), temporary) / "models"


def _can_be_made(folder: Path) -> bool:
    parent = folder.parent
    return os.access(parent if parent.exists() else parent.parent, os.W_OK)


def key_of(*parts: str) -> str:
    """A name for what these parts determine."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


@contextmanager
def locked(cache: Path, name: str) -> Iterator[None]:
    """Hold the lock of this name on this host. It is released when the block ends, or the process does."""
    with PrivateFolder(cache / "locks").open_lock(f"{name}.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def published(folder: Path, name: str, make: Callable[[Path], None]) -> Path:
    """The folder `folder/name`, made by `make` unless it is there.

    Args:
        folder: the copies of one kind.
        name: what the copy is of; equal names have equal contents.
        make: writes the content into a new folder. If it raises, nothing is published.
    """
    final = folder / name
    if not final.is_dir():
        with locked(folder.parent, name):
            if not final.is_dir():  # another process has made it, while this one waited for the lock
                _make(final, make)
                _delete_unused(folder, keep=name)
    with contextlib.suppress(OSError):
        os.utime(final)
    return final


def _make(final: Path, make: Callable[[Path], None]) -> None:
    prefix = f"{_TEMPORARY}{final.name}-"
    if final.parent.is_dir():  # what processes left that were killed: nobody else writes under this lock
        for left in final.parent.glob(f"{prefix}*"):
            shutil.rmtree(left, ignore_errors=True)
    temporary = final.parent / f"{prefix}{uuid.uuid4().hex[:12]}"
    temporary.mkdir(parents=True, mode=0o700)
    try:
        make(temporary)
        temporary.rename(final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _delete_unused(folder: Path, keep: str) -> None:
    oldest = time.time() - _UNUSED_S
    for copy in folder.iterdir():
        with contextlib.suppress(OSError):
            if copy.name != keep and not copy.name.startswith(_TEMPORARY) and copy.stat().st_mtime < oldest:
                shutil.rmtree(copy)

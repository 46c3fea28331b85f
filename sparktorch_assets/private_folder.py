"""A folder that belongs to one user alone, in a place that all users of a host share, such as the temporary directory.

Any user can create a folder there under any name before we do, or put a symbolic link in its place. A folder is
therefore used only if it is a real folder owned by this process's user, if nobody else can write to it, and if no other
user can replace it. Files in it are opened relative to the folder that was checked, and symbolic links are never
followed.
"""

import contextlib
import errno
import logging
import os
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

_LOG = logging.getLogger(__name__)
_NOT_FOLLOWED = os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_MODE = 0o600
_UNMAPPED_USER = 65534
"""The owner that the kernel reports in a user namespace (rootless containers) for files of the host's root user."""


def temporary_folder() -> Path:
    """This user's folder in the temporary directory. Check it with `require_private` before it is used."""
    return Path(tempfile.gettempdir()) / f"sparktorch_assets-{os.getuid()}"


def cache_folders() -> Iterator[Path]:
    """The folders that may hold what is costly to make again, best first. Check them with `require_private`."""
    cache = os.environ.get("XDG_CACHE_HOME")
    with contextlib.suppress(RuntimeError):  # no home folder
        yield (Path(cache) if cache else Path.home() / ".cache") / "sparktorch_assets"
    yield temporary_folder()


class PrivateFolder:
    """The files of one private folder, by their names.

    Args:
        path: the folder. It is created on first use if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            OSError: the file does not exist, is a symbolic link or not a regular file, or the folder cannot be trusted.
        """
        with self._open_folder() as folder:
            file = os.open(name, os.O_RDONLY | os.O_NONBLOCK | _NOT_FOLLOWED, dir_fd=folder)
        with open(file, "rb") as source:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise PermissionError(f"{self.path / name} is not a regular file")
            return source.read()

    def replace(self, name: str, content: bytes) -> None:
        """Write a file atomically.

        Raises:
            OSError: it cannot be written, or the folder cannot be trusted.
        """
        with self._open_folder() as folder:
            temporary = f".{name}.{uuid.uuid4().hex}"
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOT_FOLLOWED, _FILE_MODE, dir_fd=folder)
            try:
                with open(file, "wb") as sink:
                    sink.write(content)
                os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise

    def open_lock(self, name: str) -> IO[bytes]:
        """Open a file to lock, creating it if it does not exist.

        Raises:
            OSError: it cannot be opened or is a symbolic link, or the folder cannot be trusted.
        """
        with self._open_folder() as folder:
            return open(os.open(name, os.O_WRONLY | os.O_CREAT | _NOT_FOLLOWED, _FILE_MODE, dir_fd=folder), "ab")

    @contextmanager
    def _open_folder(self) -> Iterator[int]:
        try:
            folder = _open_checked(self.path)
        except PermissionError as error:
            _warn_once(str(error))
            raise
        try:
            yield folder
        finally:
            os.close(folder)


def require_private(path: Path) -> None:
    """Create the folder if it does not exist, and check that it belongs to this user alone.

    Raises:
        PermissionError: it is a symbolic link or not a folder, belongs to another user, or other users can write to it
            or to a folder above it.
        OSError: it cannot be created.
    """
    os.close(_open_checked(path))


def _open_checked(path: Path) -> int:
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700, parents=True)
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _NOT_FOLLOWED)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise PermissionError(f"{path} is not a folder, but a symbolic link or a file") from error
        raise
    status = os.fstat(folder)
    problem = ""
    if status.st_uid != os.geteuid():
        problem = f"{path} belongs to user {status.st_uid}, not to user {os.geteuid()} who runs this process"
    elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        problem = f"other users can write into {path} (mode {stat.S_IMODE(status.st_mode):o})"
    else:
        problem = _problem_above(path)
    if problem:
        os.close(folder)
        raise PermissionError(problem)
    return folder


def _problem_above(path: Path) -> str:
    """How another user could replace `path`, by renaming it or a folder above it; empty if nobody can.

    The folders above must belong to root or to this user, and those that everybody can write to must have the sticky
    bit. Write permission for a group is accepted: where the umask is 002, each user has a group of their own.
    """
    for folder in dict.fromkeys((*path.absolute().parents, *path.resolve().parents)):
        status = folder.lstat()
        if status.st_uid not in (0, os.geteuid(), _UNMAPPED_USER):
            return f"{folder} belongs to user {status.st_uid}, who can replace {path}"
        if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
            return f"other users can write into {folder} (mode {stat.S_IMODE(status.st_mode):o}), and replace {path}"
    return ""


@cache
def _warn_once(problem: str) -> None:
    """Log, once per process, why a folder is not used."""
    _LOG.warning("%s: nothing is shared with other processes through it. Remove it, or set TMPDIR", problem)

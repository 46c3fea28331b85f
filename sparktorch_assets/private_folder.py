"""A folder in a place that all users of a host share, such as the temporary directory, which belongs to one user alone.

Whoever comes first can make a folder there under any name, or put a symbolic link in its place. A folder is therefore
used only if it is a real folder, owned by this process's user, into which nobody else can write, and which no other user
can exchange; files in it are opened
relative to the folder that was checked, and symbolic links are never followed.
"""

import contextlib
import errno
import logging
import os
import stat
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
"""Whom the kernel names in a user namespace (rootless containers) as the owner of what the host's root owns."""


class PrivateFolder:
    """The files of one private folder, by their names.

    Args:
        path: the folder; made where it is missing, when it is first used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            OSError: there is no such file, it is a symbolic link or no regular file, or the folder cannot be trusted.
        """
        with self._open_folder() as folder:
            file = os.open(name, os.O_RDONLY | os.O_NONBLOCK | _NOT_FOLLOWED, dir_fd=folder)
        with open(file, "rb") as source:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise PermissionError(f"{self.path / name} is no regular file")
            return source.read()

    def replace(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all.

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
        """A file to lock, made where it is missing.

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
    """Make the folder where it is missing.

    Raises:
        PermissionError: it is a symbolic link or no folder, belongs to another user, or others can write into it or into a
            folder above it.
        OSError: it cannot be made.
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
    """Who else could put another folder in the place of `path`, by renaming it or a folder above it; empty for nobody.

    Only root and this user may own what is above, and where all may write, only the sticky bit keeps names safe. A group
    that may write is trusted: with a umask of 002 each user is alone in one.
    """
    for folder in dict.fromkeys((*path.absolute().parents, *path.resolve().parents)):
        status = folder.lstat()
        if status.st_uid not in (0, os.geteuid(), _UNMAPPED_USER):
            return f"{folder} belongs to user {status.st_uid}, who can exchange {path}"
        if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
            return f"other users can write into {folder} (mode {stat.S_IMODE(status.st_mode):o}), and exchange {path}"
    return ""


@cache
def _warn_once(problem: str) -> None:
    """Say once per process why a folder is not used."""
    _LOG.warning("%s: nothing is shared with other processes through it. Remove it, or set TMPDIR", problem)

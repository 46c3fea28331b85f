"""A table's folder, local or remote: local paths through the operating system; `s3://`, `gs://`, `hdfs://`, `abfs://`
and the like through `pyarrow.fs`. It has only the few operations that exact commits need.
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlparse

from pyarrow import fs

from sparktorch_assets.errors import TableError
from sparktorch_assets.file_identity import FileIdentity, file_identity, object_identity
from sparktorch_assets.masking import has_password, without_secrets
from sparktorch_assets.storage.hidden import hide_secrets
from sparktorch_assets.storage.opening import open_file_system

STORE_THREADS = 32
"""Number of threads that read files of a store in parallel, whatever the number of cores, since they only wait."""
_CHUNK_BYTES = 8 << 20
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES)
"""Errors of `fsync` that are ignored: those of file systems that do not support it, such as some network shares, and
that of a folder that this user may write to but not list."""
_YOUNG_SECONDS = 3_600
_WITHOUT_FOLDERS = ("s3", "gcs")
"""File systems in which a folder is no more than what the names of files have in common."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderEntry:
    """One file below a folder."""

    path: str
    """The path relative to the folder, with `/` as the separator."""
    size_bytes: int
    modified_ms: int


class Folder:
    """A folder (or a single file) and its file system."""

    def __init__(self, uri: str) -> None:
        if has_password(uri):
            raise TableError(
                f"{without_secrets(uri)!r}: the address of a table contains a password, and addresses are shown in "
                f"logs and on asset pages. Leave it out, and give storage options, or set the store's own environment "
                f"variables or profile instead (for S3, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
            )
        self.uri = uri.rstrip("/") if len(uri) > 1 else uri
        local = local_path(self.uri)
        self.absolute = self.uri if local is None else local
        """The URI, or the absolute local path, whose meaning does not depend on the working directory."""
        self.is_local = local is not None
        if local is not None:
            if self.uri.startswith("file:") and (sign := re.search("[#?]", self.uri)):
                raise TableError(
                    f"cannot open {uri!r}: in a URI, {sign[0]} ends the path. If it is part of the name, give the path without "
                    f"file://"
                )
            self.filesystem: fs.FileSystem = fs.LocalFileSystem()
            self.root = local
        else:
            try:
                self.filesystem, self.root = open_file_system(self.uri)
            except (ValueError, OSError) as error:
                raise TableError(
                    f"cannot open {uri!r}: {hide_secrets(error)}. Give a local path, or a URI that pyarrow.fs knows"
                ) from error

    def full(self, path: str) -> str:
        """`path`, relative to this folder, in the file system's form."""
        return f"{self.root}/{path}" if path else self.root

    def uri_of(self, path: str) -> str:
        """The URI or local path with which `Folder` opens the file `path`, relative to this folder."""
        return f"{self.absolute}/{path if self.is_local else quote(path)}"

    def info(self, path: str = "") -> FolderEntry | None:
        """The file's size and modification time; `None` if there is no such file."""
        found = self.filesystem.get_file_info(self.full(path))
        return _entry(path, found) if found.type == fs.FileType.File else None

    def identity(self, path: str = "") -> FileIdentity | None:
        """What distinguishes the file from any other that may replace it; `None` if there is no such file.

        In a store, this is the size and the modification time, the same on every host.
        """
        if self.is_local:
            return file_identity(self.full(path))
        found = self.filesystem.get_file_info(self.full(path))
        if found.type != fs.FileType.File:
            return None
        return object_identity(found.size, found.mtime_ns)

    def is_folder(self, path: str = "") -> bool:
        """Whether there is a folder of that name."""
        return bool(self.filesystem.get_file_info(self.full(path)).type == fs.FileType.Directory)

    def exists(self) -> bool:
        """Whether there is anything at this address: a folder, or a file."""
        return self.is_folder() or self.info() is not None

    def files(self, path: str = "", *, recursive: bool = True) -> Iterator[FolderEntry]:
        """Every file below `path`, in no particular order; none if the folder does not exist."""
        selector = fs.FileSelector(self.full(path), recursive=recursive, allow_not_found=True)
        prefix = len(self.root.rstrip("/")) + 1
        try:
            listed = self.filesystem.get_file_info(selector)
        except OSError as error:  # pyarrow repeats what the store answers
            hide_secrets(error)
            raise
        for found in listed:
            if found.type == fs.FileType.File:
                yield _entry(found.path[prefix:], found)

    def create(self, path: str = "") -> None:
        """Create the folder and its parents if they do not exist and the file system needs them."""
        if self.filesystem.type_name in _WITHOUT_FOLDERS:
            return
        if not self.is_local:
            self.filesystem.create_dir(self.full(path), recursive=True)
            return
        folder = Path(self.full(path))
        missing = [above for above in (folder, *folder.parents) if not above.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for made in missing:
            _sync(made.parent)

    def open_input(self, path: str = "") -> Any:
        """Open a file for random access. It is not memory-mapped: a file that is truncated while it is read must raise,
        not kill the process."""
        return self.filesystem.open_input_file(self.full(path))

    def open_output(self, path: str) -> Any:
        """Open a new file for writing."""
        return self.filesystem.open_output_stream(self.full(path))

    def delete(self, path: str) -> None:
        """Delete the file if it exists."""
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_file(self.full(path))

    def sha256(self, path: str) -> str:
        """The file's SHA-256, in hexadecimal."""
        with self.open_input(path) as source:
            return sha256_of(source)

    def keep_young(self, path: str) -> None:
        """Set a local file's modification time to now if it is more than an hour old, so that no vacuum takes it for
        abandoned. On a store, this does nothing.

        A younger file keeps its times: another run may have committed it meanwhile, and those who plan with it now
        would take one with new times for another file.
        """
        if self.is_local:
            with contextlib.suppress(OSError):
                if time.time() - Path(self.full(path)).stat().st_mtime > _YOUNG_SECONDS:
                    os.utime(self.full(path))

    def sync(self, path: str = "") -> None:
        """Flush a file's content, or the names in a folder, to disk (fsync), so that they survive a power failure. A
        store needs no such call."""
        if self.is_local:
            _sync(self.full(path))

    def publish(self, temporary: str, final: str) -> bool:
        """Give a finished file its final name atomically, unless the name is taken. Its content is flushed first.

        On local disks, exactly one of several concurrent writers gets the name. Object stores could guarantee the same,
        but `pyarrow.fs` does not expose it. There, a file that another writer publishes between our check and our move
        is replaced as a whole.

        Args:
            temporary: the file's current name; it no longer exists once this has returned True.
            final: the file's final name.

        Returns:
            False if the name was taken; nothing has changed then.

        Raises:
            TableError: the file was deleted meanwhile.
        """
        if not self.is_local:
            if self.info(final) is not None:
                return False
            self.replace(temporary, final)
            return True
        source, target = self.full(temporary), self.full(final)
        try:
            _sync(source)
            os.link(source, target)  # unlike a rename, it fails if the name is taken
        except FileExistsError:
            return False
        except FileNotFoundError as error:
            raise _gone(source) from error
        except OSError:  # no hard links here (FUSE, some network shares): reserve the name with an empty file first
            try:
                os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return False
            self.replace(temporary, final)
        else:
            self.delete(temporary)
        return True

    def replace(self, temporary: str, final: str) -> None:
        """Give a finished file its final name atomically, replacing a file of that name.

        Raises:
            TableError: the file was deleted meanwhile.
        """
        try:
            self.sync(temporary)
            self.filesystem.move(self.full(temporary), self.full(final))
        except FileNotFoundError as error:
            raise _gone(self.full(temporary)) from error

    def free_bytes(self) -> int | None:
        """Free bytes on the folder's disk; `None` for object stores, and if it cannot be determined."""
        if not self.is_local:
            return None
        with contextlib.suppress(OSError):
            return shutil.disk_usage(self.root).free
        return None


def read_threads(*, is_local: bool) -> int:
    """Number of threads that read files of a folder in parallel. On a disk, as many as there are cores: more of them wait for
    Python's lock rather than for the disk."""
    return min(STORE_THREADS, max(4, os.cpu_count() or 1)) if is_local else STORE_THREADS


def sha256_of(source: Any) -> str:
    """The SHA-256 of an open file from its present position on, in hexadecimal."""
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def local_path(uri: str) -> str | None:
    """The absolute local path that `uri` names; `None` for a URI of another kind.

    >>> local_path("file:///data/t"), local_path("s3://bucket/t")
    ('/data/t', None)
    """
    scheme = urlparse(uri).scheme
    if scheme == "file":
        return unquote(urlparse(uri).path)
    if len(scheme) > 1:  # a single letter is a drive
        return None
    return os.path.abspath(uri)  # noqa: PTH100  (a string that may contain anything)


def _gone(path: str) -> TableError:
    return TableError(
        f"{path} was deleted before it got its final name; did a vacuum with too short a retention run meanwhile? "
        f"Nothing of it was committed; run again"
    )


def _sync(path: str | Path) -> None:
    try:
        opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _entry(path: str, found: fs.FileInfo) -> FolderEntry:
    modified_ms = 0 if found.mtime_ns is None else found.mtime_ns // 1_000_000
    return FolderEntry(path=path, size_bytes=found.size, modified_ms=modified_ms)

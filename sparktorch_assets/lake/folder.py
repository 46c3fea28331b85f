"""A table's folder, wherever it lies: local paths through the operating system, `s3://`, `gs://`, `hdfs://`, `abfs://` and
the like through `pyarrow.fs`. One small set of operations, because that is all that exact commits need.
"""

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlparse

import pyarrow as pa
from pyarrow import fs

from sparktorch_assets.errors import TableError
from sparktorch_assets.masking import has_password, without_secrets
from sparktorch_assets.tasks.files.file_identity import FileIdentity, file_identity

_CHUNK_BYTES = 8 << 20
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES)
"""What file systems answer that bring names to disk by themselves, such as some network shares; and what a folder answers
that this user may write into but not list."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderEntry:
    """One file below a folder."""

    path: str
    """Relative to the folder, with `/` between its parts."""
    size_bytes: int
    modified_ms: int


class Folder:
    """One folder (or single file) and the file system that it lies on."""

    def __init__(self, uri: str) -> None:
        if has_password(uri):
            raise TableError(
                f"{without_secrets(uri)!r}: a password stands in the address of a table, which is shown in logs and on "
                f"asset pages. Leave it out, and give the credentials as the store's own environment variables or profile "
                f"(for S3, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
            )
        self.uri = uri.rstrip("/") if len(uri) > 1 else uri
        local = local_path(self.uri)
        self.absolute = self.uri if local is None else local
        """The URI, or the absolute path: what it means does not depend on a process's working directory."""
        self.is_local = local is not None
        if local is not None:
            self.filesystem: fs.FileSystem = fs.LocalFileSystem()
            self.root = local
        else:
            try:
                self.filesystem, self.root = fs.FileSystem.from_uri(self.uri)
            except (pa.ArrowInvalid, OSError) as error:
                raise TableError(
                    f"cannot open {uri!r}: {error}. Give a local path, or a URI that pyarrow.fs knows"
                ) from error

    def full(self, path: str) -> str:
        """`path`, relative to this folder, as the file system wants it."""
        return f"{self.root}/{path}" if path else self.root

    def uri_of(self, path: str) -> str:
        """What opens the file `path`, relative to this folder, as a `Folder` of its own."""
        return f"{self.absolute}/{path if self.is_local else quote(path)}"

    def info(self, path: str = "") -> FolderEntry | None:
        """The file's size and modification time; `None` where there is no such file."""
        found = self.filesystem.get_file_info(self.full(path))
        return _entry(path, found) if found.type == fs.FileType.File else None

    def identity(self, path: str = "") -> FileIdentity | None:
        """What tells the file from any other that may take its place; `None` where there is no such file.

        A store has neither devices nor inodes: there it is the size and the modification time, on whatever host.
        """
        if self.is_local:
            return file_identity(self.full(path))
        found = self.filesystem.get_file_info(self.full(path))
        if found.type != fs.FileType.File:
            return None
        return FileIdentity(
            host="", device=0, inode=0, changed_ns=0, size_bytes=found.size, modified_ns=found.mtime_ns or 0
        )

    def is_folder(self, path: str = "") -> bool:
        """Whether there is a folder of that name."""
        return bool(self.filesystem.get_file_info(self.full(path)).type == fs.FileType.Directory)

    def files(self, path: str = "", *, recursive: bool = True) -> Iterator[FolderEntry]:
        """Every file below `path`, in no particular order; none where the folder does not exist."""
        selector = fs.FileSelector(self.full(path), recursive=recursive, allow_not_found=True)
        prefix = len(self.root.rstrip("/")) + 1
        for found in self.filesystem.get_file_info(selector):
            if found.type == fs.FileType.File:
                yield _entry(found.path[prefix:], found)

    def create(self, path: str = "") -> None:
        """Make the folder, and those above it, where they are missing."""
        if not self.is_local:
            self.filesystem.create_dir(self.full(path), recursive=True)
            return
        folder = Path(self.full(path))
        missing = [above for above in (folder, *folder.parents) if not above.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for made in missing:
            _sync(made.parent)

    def open_input(self, path: str = "") -> Any:
        """A random-access file. Not mapped into memory: a file cut while it is read must raise, not kill the process."""
        return self.filesystem.open_input_file(self.full(path))

    def open_output(self, path: str) -> Any:
        """A new file to write."""
        return self.filesystem.open_output_stream(self.full(path))

    def delete(self, path: str) -> None:
        """Delete the file; quiet where it is already gone."""
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_file(self.full(path))

    def sha256(self, path: str) -> str:
        """The file's sha256, in hexadecimal."""
        digest = hashlib.sha256()
        with self.open_input(path) as source:
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()

    def touch(self, path: str) -> None:
        """Set the file's modification time to now; quiet where it is gone, or where the store keeps the time itself."""
        if self.is_local:
            with contextlib.suppress(OSError):
                os.utime(self.full(path))

    def sync(self, path: str = "") -> None:
        """Bring a file's content, or the names in a folder, from memory to disk, so that a power cut does not take it
        back. A store does so by itself."""
        if self.is_local:
            _sync(self.full(path))

    def publish(self, temporary: str, final: str) -> bool:
        """Give a finished file its name in one step, unless the name is taken; its content is on disk by then.

        Local disks decide between writers that come at once: one of them gets the name. Object stores could, but
        `pyarrow.fs` has no way to ask for it. There, a file that comes in the moment between our look and our move is
        replaced, whole by whole.

        Args:
            temporary: the file's name until now; gone afterwards when this returns True.
            final: its name from now on.

        Returns:
            False when the name was taken. Nothing has changed then.

        Raises:
            TableError: somebody deleted the file meanwhile.
        """
        if not self.is_local:
            if self.info(final) is not None:
                return False
            self.replace(temporary, final)
            return True
        source, target = self.full(temporary), self.full(final)
        try:
            _sync(source)
            os.link(source, target)  # unlike a rename, it fails where the name is taken
        except FileExistsError:
            return False
        except FileNotFoundError as error:
            raise _gone(source) from error
        except OSError:  # no hard links here (FUSE, some network shares): take the name with an empty file first
            try:
                os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return False
            self.replace(temporary, final)
        else:
            self.delete(temporary)
        return True

    def replace(self, temporary: str, final: str) -> None:
        """Give a finished file its name in one step; a file that has the name already gives way.

        Raises:
            TableError: somebody deleted the file meanwhile.
        """
        try:
            self.sync(temporary)
            self.filesystem.move(self.full(temporary), self.full(final))
        except FileNotFoundError as error:
            raise _gone(self.full(temporary)) from error

    def free_bytes(self) -> int | None:
        """Free space where the folder lies; `None` where that has no meaning."""
        if not self.is_local:
            return None
        with contextlib.suppress(OSError):
            return shutil.disk_usage(self.root).free
        return None


def local_path(uri: str) -> str | None:
    """The absolute local path that `uri` names; `None` for a URI of another kind.

    >>> local_path("file:///data/t"), local_path("s3://bucket/t")
    ('/data/t', None)
    """
    scheme = urlparse(uri).scheme
    if scheme == "file":
        return unquote(urlparse(uri).path)
    if len(scheme) > 1:  # one letter is a drive
        return None
    return os.path.abspath(uri)  # noqa: PTH100  (a string that may hold anything)


def _gone(path: str) -> TableError:
    return TableError(
        f"{path} was deleted before it got its final name; did a vacuum with too short a retention run meanwhile? Nothing "
        f"of it was committed; run again"
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

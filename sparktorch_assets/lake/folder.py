"""A table's folder, wherever it lies: local paths through the operating system, `s3://`, `gs://`, `hdfs://`, `abfs://` and
the like through `pyarrow.fs`. One small set of operations, because that is all that exact commits need.
"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlparse

import pyarrow as pa
from pyarrow import fs

from sparktorch_assets.errors import TableError
from sparktorch_assets.masking import has_password, without_secrets
from sparktorch_assets.tasks.file_identity import FileIdentity, file_identity

_CHUNK_BYTES = 8 << 20


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
        self.filesystem.create_dir(self.full(path), recursive=True)

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

    def publish(self, temporary: str, final: str, *, replace: bool) -> bool:
        """Give a finished file its name in one step.

        Args:
            temporary: the file's name until now; gone afterwards when this returns True.
            final: its name from now on.
            replace: whether a file that has the name already gives way.

        Returns:
            False when the name was taken and `replace` is off. Nothing has changed then.
        """
        source, target = self.full(temporary), self.full(final)
        if replace:
            self.filesystem.move(source, target)
            return True
        if self.is_local:
            try:
                os.link(source, target)  # unlike a rename, it fails where the name is taken
            except FileExistsError:
                return False
            except OSError:  # no hard links here (FUSE, some network shares): two steps are the best there is
                pass
            else:
                os.unlink(source)  # noqa: PTH108  (paths of the file system's own)
                return True
        if self.info(final) is not None:
            return False
        self.filesystem.move(source, target)
        return True

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


def _entry(path: str, found: fs.FileInfo) -> FolderEntry:
    modified_ms = 0 if found.mtime_ns is None else found.mtime_ns // 1_000_000
    return FolderEntry(path=path, size_bytes=found.size, modified_ms=modified_ms)

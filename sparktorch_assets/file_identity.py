"""Tells whether a local file is still the same file with the same content, without reading it.

Size and modification time are not enough: a file can be replaced by another one of equal size and time, and a symbolic
link can be switched to another release. The inode and the time of its last change (`ctime`, which no program can set)
tell these apart.
"""

import os
import socket
import sys
import time
from dataclasses import dataclass

_TICK_NS = 20_000_000
"""File systems record times in steps of up to 10 ms. Two writes within one step leave equal times, so a file that was
changed this recently is examined again after the step has passed."""

_STORE = ""
"""Stands for the host in identities of objects, which are the same on every host."""


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What the operating system reports about a file, without reading its content. Symbolic links are followed.

    For an object in a store, see `object_identity`.
    """

    host: str
    device: int
    inode: int
    changed_ns: int
    size_bytes: int
    modified_ns: int

    def agrees_with(self, other: "FileIdentity") -> bool:
        """Whether both can have the same content.

        On one host, everything must be equal. Another host numbers its devices differently, and may have a copy with
        other inodes and change times: between hosts, only size and modification time are compared.

        Of an object in a store, the size and the second of its time are compared, since S3 tells no more than the second
        when asked for a single object. If one of the two does not know the time, the size alone is.
        """
        if self.host == other.host == _STORE:
            seconds = {identity.modified_ns // 1_000_000_000 for identity in (self, other) if identity.modified_ns}
            return self.size_bytes == other.size_bytes and len(seconds) <= 1
        if self.host == other.host:
            return self == other
        return (self.size_bytes, self.modified_ns) == (other.size_bytes, other.modified_ns)


def object_identity(size_bytes: int, modified_ns: int | None, *, logged_ns: int = 0) -> FileIdentity:
    """The identity of an object in a store, which has neither a device nor an inode.

    Args:
        size_bytes: its size.
        modified_ns: when it was written, by the store's clock; `None` if that is not known.
        logged_ns: when it was written, by the clock of who wrote it into a table's log. `agrees_with` cannot compare
            this with the store's time, and leaves it out.
    """
    return FileIdentity(
        host=_STORE, device=0, inode=0, changed_ns=logged_ns, size_bytes=size_bytes, modified_ns=modified_ns or 0
    )


def file_identity(path: str | os.PathLike[str]) -> FileIdentity | None:
    """The file's present identity; `None` if there is no such file."""
    try:
        status = os.stat(path)  # noqa: PTH116  (a plan asks for each of its files)
        age_ns = time.time_ns() - status.st_ctime_ns
        if 0 <= age_ns < _TICK_NS:
            time.sleep((_TICK_NS - age_ns) / 1e9)
            status = os.stat(path)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return None
    return FileIdentity(
        host=sys.intern(socket.gethostname()),  # a plan holds one identity per file
        device=status.st_dev,
        inode=status.st_ino,
        changed_ns=status.st_ctime_ns,
        size_bytes=status.st_size,
        modified_ns=status.st_mtime_ns,
    )

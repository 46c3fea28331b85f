"""The content of a new file of a store: in memory while it is small, so that it needs no name until it is complete.

A store shows an object when it is complete, and then it can have its final name at once: one request instead of the six
of an upload under a temporary name, a copy and a deletion. Larger files do get a temporary name, since pyarrow completes
an upload that is given up: half a file would appear under the name of a whole one.
"""

import io
from typing import Any

from sparktorch_assets.lake.files.folder import Folder

HELD_BYTES = 8 << 20
"""The most bytes that are kept in memory; less than what `pyarrow.fs` uploads with a single request (10 MiB)."""


class HeldFile(io.RawIOBase):
    """A file to write into.

    Args:
        folder: the folder in a store.
        temporary: the path at which the file lies once it is no longer held in memory.
    """

    def __init__(self, folder: Folder, temporary: str) -> None:
        self._folder, self._temporary = folder, temporary
        self._content = bytearray()
        self._upload: Any = None
        self._size_bytes = 0

    @property
    def content(self) -> bytes | None:
        """All that was written; `None` if it is too large to be held, and lies at the temporary path when this file is
        closed."""
        return bytes(self._content) if self._upload is None else None

    def write(self, data: Any) -> int:
        """Append bytes, and return their number."""
        self._content += data
        size = memoryview(data).nbytes
        self._size_bytes += size
        if self._upload is not None or len(self._content) > HELD_BYTES:
            self._upload = self._upload or self._folder.open_output(self._temporary)
            self._upload.write(bytes(self._content))
            self._content.clear()
        return size

    def tell(self) -> int:
        """Number of bytes written."""
        return self._size_bytes

    def writable(self) -> bool:
        """Whether bytes can be written: yes."""
        return True

    def close(self) -> None:
        """Complete the upload, if there is one."""
        if self._upload is not None and not self.closed:
            self._upload.close()
        super().close()

"""Keeps the footers of a table's input in a file next to the output, so that the next run, which is another process,
need not read them again.

The file only saves requests. It may be deleted at any time, and one that is missing, damaged or of another version is
no error. What it holds is compared with the files as they are now, as if it had stayed in memory.

It holds the files' identities, row counts, sizes and columns, and hashes of their addresses and footers. Only where
plans need bounds of columns (for partitions of an input that is not partitioned itself), it holds the footers with the
smallest and largest values of all columns.
"""

import contextlib
import logging
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.files.folder import STORE_THREADS, Folder
from sparktorch_assets.lake.parquet.footers import Footer, remember, remembered
from sparktorch_assets.lake.parquet.kept.footer_table import holds, name_of, packed_footers, unpacked_footers
from sparktorch_assets.storage.hidden import hide_secrets

_LOG = logging.getLogger(__name__)
NAME = ".footers"
"""Hidden, so that Spark and other readers of a folder's files do not take it for one of them."""
_FEW_FILES = STORE_THREADS
"""So many footers are read at once, in no more time than this file takes."""
_MOST_BYTES = 256 << 20
"""A larger file is not read. It holds the footers of about three million files, unless they are kept with their bounds."""
_MOST_HELD_BYTES = 1 << 30
"""Footers that would take more memory than this are not written."""


class KeptFooters:
    """The footers that the runs of one output keep.

    Args:
        folder: the output's folder, which need not exist.
        bounds: whether the plans need the bounds of columns; see `read_footers`.
    """

    def __init__(self, folder: Folder, *, bounds: bool) -> None:
        self._folder, self._bounds = folder, bounds

    def recall(self, files: Sequence[DataFile]) -> None:
        """Take over what an earlier run kept of these files, unless this process knows as much. Writes nothing."""
        if len(files) <= _FEW_FILES or all(map(self._knows, files)):
            return
        try:
            kept = dict(unpacked_footers(self._content()))
        except (OSError, ValueError, pa.ArrowException) as error:
            _LOG.debug("no footers of the input of %s were kept: %s", self._folder.uri, hide_secrets(error))
            return
        unknown = ((file, kept.get(name_of(file.uri))) for file in files if not self._knows(file))
        remember([(file, footer) for file, footer in unknown if footer is not None])

    def keep(self, files: Sequence[DataFile]) -> None:
        """Keep what this process knows of these files for the next one. If that cannot be written, it is not kept."""
        if len(files) <= _FEW_FILES:
            return
        self.recall(files)
        known = self._known(files)
        try:
            if not holds(self._content(), known):
                self._write(packed_footers(known))
        except (OSError, pa.ArrowException, TableError) as error:
            _LOG.debug("the footers of the input of %s are not kept: %s", self._folder.uri, hide_secrets(error))

    def _knows(self, file: DataFile) -> bool:
        found = remembered(file)
        return found is not None and bool(found.packed or not self._bounds)

    def _known(self, files: Sequence[DataFile]) -> dict[bytes, Footer]:
        """Name -> footer, of as many files as fit."""
        known, left = {}, _MOST_HELD_BYTES
        for file in files:
            footer = remembered(file)
            if footer is not None:
                footer = footer if self._bounds else replace(footer, packed=b"")
                left -= footer.held_bytes
                if left < 0:
                    break
                known[name_of(file.uri)] = footer
        return known

    def _content(self) -> bytes:
        """What the file holds; nothing if there is none."""
        with contextlib.suppress(OSError), self._folder.open_input(NAME) as source:
            if source.size() <= _MOST_BYTES:
                return bytes(source.read())
        return b""

    def _write(self, content: bytes) -> None:
        folder = self._folder
        if not folder.is_local:  # a store shows an object when it is complete
            with folder.open_output(NAME) as sink:
                sink.write(content)
            return
        temporary = f".{uuid.uuid4().hex}.tmp"
        try:
            path = Path(folder.full(temporary))
            path.touch(mode=0o600)
            path.write_bytes(content)
            path.replace(folder.full(NAME))
        finally:
            with contextlib.suppress(OSError):
                folder.delete(temporary)

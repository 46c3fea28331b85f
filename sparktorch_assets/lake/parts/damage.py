"""Handles files whose bytes are not those that were written, because of a failing disk or an incomplete copy.

For our own parts, this can be verified: their pages have checksums, and parts that Spark wrote are named after a hash
of their bytes. A damaged part is moved aside, so that the next refresh of its table finds it missing and writes it
again, like every lost part.
"""

import contextlib
import re
import uuid

import pyarrow as pa
import pyarrow.parquet as pq

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.parts.file import NUMBERED_PART_NAME, PART_NAME

_BY_CONTENT = re.compile(r"part-(?:[0-9a-f]{32}-\d{5}-([0-9a-f]{16})|([0-9a-f]{32})-\d{5})\.parquet")
"""Names that contain a hash of the file's bytes."""


def damaged_file(uri: str, error: Exception) -> TableError:
    """The error to raise if a planned file cannot be read. A part that is verified to be damaged is moved aside.

    Args:
        uri: the file.
        error: the reader's error.
    """
    head, _, name = uri.rpartition("/")
    folder = Folder(head or "/")
    said = f"cannot read {uri!r}, it is damaged: {' '.join(str(error).split())}"
    if not PART_NAME.fullmatch(name) and not NUMBERED_PART_NAME.fullmatch(name):
        return TableError(f"{said}. Restore the file, or write it again")
    aside = f".{name}.damaged-{uuid.uuid4().hex[:12]}.tmp"
    with contextlib.suppress(OSError, TableError):  # it is gone, or cannot be moved
        if folder.is_local and _is_damaged(folder, name):
            folder.replace(name, aside)
            return TableError(
                f"{said}. It was put aside as {aside}: refresh the table that it belongs to, which writes it again, "
                f"then run again"
            )
    return TableError(
        f"{said}. If the next run fails in the same way, delete the file and refresh the table that it belongs to, "
        f"which writes it again"
    )


def _is_damaged(folder: Folder, name: str) -> bool:
    """Whether the file is still damaged when all of it is read once more, so that a transient fault costs no part."""
    named = _BY_CONTENT.fullmatch(name)
    if named is not None:
        return not folder.sha256(name).startswith(named[1] or named[2])
    try:
        with folder.open_input(name) as source, pq.ParquetFile(source, page_checksum_verification=True) as file:
            for _ in file.iter_batches(use_threads=False):
                pass
    except (OSError, pa.ArrowException):
        return True
    return False

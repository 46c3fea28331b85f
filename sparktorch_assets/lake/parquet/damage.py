"""Files whose bytes are not the ones that were written: a disk that loses bits, a copy that stopped half way.

Our parts prove it. Their pages carry checksums, and the parts that Spark wrote are named by a hash of their bytes. A part
that is damaged is put aside, where the next refresh of its table misses it and makes it again, as it does with every part
that is lost.
"""

import contextlib
import re
import uuid

import pyarrow as pa
import pyarrow.parquet as pq

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.folder import Folder
from sparktorch_assets.lake.parts.file import NUMBERED_PART_NAME, PART_NAME

_BY_CONTENT = re.compile(r"part-(?:[0-9a-f]{32}-\d{5}-([0-9a-f]{16})|([0-9a-f]{32})-\d{5})\.parquet")
"""Names that hold a hash of the file's bytes."""


def damaged_file(uri: str, error: Exception) -> TableError:
    """What to raise where a file that was planned on does not read back.

    Args:
        uri: the file.
        error: what the reader said.
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
                f"{said}. It was put aside as {aside}: refresh the table that it belongs to, which makes it again, then "
                f"run again"
            )
    return TableError(
        f"{said}. If it is still so in the next run, delete the file and refresh the table that it belongs to, which makes "
        f"it again"
    )


def _is_damaged(folder: Folder, name: str) -> bool:
    """Whether it is so when all of the file is read once more: a fault in passing costs no part."""
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

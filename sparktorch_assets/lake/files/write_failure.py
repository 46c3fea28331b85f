"""Says what is wrong if something cannot be written to a table's folder."""

import errno
import re

from sparktorch_assets.errors import DiskFullError, TableError
from sparktorch_assets.lake.files.folder import Folder

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_COLOURS = re.compile(r"\x1b\[[\d;]*m")


def write_failure(folder: Folder, path: str, error: Exception) -> TableError:
    """The error to raise if a file cannot be written.

    Args:
        folder: the table's folder.
        path: the file, relative to it, or the folder itself (an empty text).
        error: what the system, pyarrow or delta-rs reported. delta-rs writes several lines, in colours.
    """
    what, said = folder.full(path), " ".join(_COLOURS.sub("", str(error)).split())
    if getattr(error, "errno", None) in _NO_SPACE or "No space left" in said:
        free = folder.free_bytes()
        return DiskFullError(
            f"no space left to write {what}: {'unknown' if free is None else f'{free:,}'} bytes free. Nothing was "
            f"committed; free some space (or vacuum old parts) and run again: finished parts are kept and not computed "
            f"again"
        )
    return TableError(
        f"cannot write {what}: {said}. Nothing was committed, and finished parts are kept: once the folder can be "
        f"written to, run again"
    )

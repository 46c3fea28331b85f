"""Unpacks an archive of the user's code on a worker (see `packed_code`), and has modules imported from there first.

The code becomes plain files, since code opens the data files next to it by their paths. All archives of one group go
into one folder: a module that was imported for one task has to find what another task has brought. The driver gives
another group to code that conflicts, so a file that is there already has the same meaning.
"""

import importlib.util
import os
import sys
import uuid
import zipfile
from collections.abc import Sequence
from pathlib import Path

from sparktorch_assets.errors import HostError
from sparktorch_assets.tasks.code.module_finder import SHIPPED_FOLDER

SHIP_SETTING = "spark.sparktorch.ship"
"""The setting of a Spark session that says whether code is shipped to the workers: `true` or `false`."""

_unpacked: set[tuple[str, str]] = set()
"""Folder and archive of what this process has unpacked, or found unpacked."""
_packages: set[str] = set()
"""The installed packages that shipped code imports."""


def import_from(archive: Path, folder: Path, starts: Sequence[str], packages: Sequence[str]) -> None:
    """Import modules from the archive first, whatever is installed here, and no longer from the folders of other groups.

    Args:
        archive: the archive.
        folder: the folder of its group, whose name begins with `SHIPPED_FOLDER`.
        starts: the folders in the archive that imports start from.
        packages: the installed packages that its code imports.

    Raises:
        HostError: the archive cannot be read, or the folder cannot be written.
    """
    if (str(folder), archive.name) not in _unpacked:
        try:
            _unpack(archive, folder)
        except (OSError, zipfile.BadZipFile) as error:
            raise HostError(
                f"code that was shipped to this worker cannot be unpacked from {archive} into {folder}: {error}"
            ) from error
        _forget_listings(folder)
        _unpacked.add((str(folder), archive.name))
        _packages.update(packages)
    first = [str(folder / start) for start in starts]
    if sys.path[: len(first)] != first:
        sys.path[:] = [*first, *(entry for entry in sys.path if SHIPPED_FOLDER not in entry)]


def lacking_packages() -> list[str]:
    """The installed packages that shipped code imports, and that this process does not have."""
    return sorted(name for name in _packages if name not in sys.modules and importlib.util.find_spec(name) is None)


def _unpack(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        for name in packed.namelist():
            path = folder / name
            if path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            # Several workers of a host may unpack at once, and none may import half a file.
            temporary = path.with_name(f".{uuid.uuid4().hex}")
            temporary.write_bytes(packed.read(name))
            os.replace(temporary, path)  # noqa: PTH105


def _forget_listings(folder: Path) -> None:
    """Make finders list the folder again. Not `importlib.invalidate_caches`, for the reason in `module_finder`."""
    for path in [path for path in sys.path_importer_cache if path.startswith(str(folder))]:
        sys.path_importer_cache.pop(path, None)

"""Takes over finished parts of other tables, so that a shard that was scored there is not scored again.

A part's name is the fingerprint of everything that its rows depend on, in any table: the part of that name in a
challenger's table holds the predictions that a promoted champion would compute. It is copied, on a store by the store
itself, and not linked, so that nothing that happens to the one file later (a vacuum, a damaged block, a new
modification time) shows in the other.
"""

import contextlib
import logging
import os
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pyarrow import fs

from sparktorch_assets.errors import SparktorchError
from sparktorch_assets.lake.files.folder import READ_THREADS, Folder
from sparktorch_assets.lake.files.partition_values import partition_folder
from sparktorch_assets.lake.parts.file import verify_part, verify_parts
from sparktorch_assets.lake.plan import Plan

_LOG = logging.getLogger(__name__)


def adopt_parts(plan: Plan, tables: Sequence[str]) -> int:
    """Copy finished parts of the plan's new shards from other tables into the plan's, where the next plan finds them.

    They are committed like parts that an interrupted run has left. A part that cannot be copied is left to be scored.

    Args:
        plan: the plan for a table.
        tables: paths or URIs of the other tables' folders, which need not exist.

    Returns:
        The number of parts that were copied.
    """
    wanted = {shard.part_path for shard in plan.new}
    adopted = 0
    for table in tables:
        source = Folder(table)
        if not wanted or source.absolute == plan.table.folder.absolute:
            continue
        found = [
            entry for entry in source.files(partition_folder(plan.partition), recursive=False) if entry.path in wanted
        ]
        paths = sorted(verify_parts(source, found))
        if not paths:
            continue
        plan.table.folder.create(partition_folder(plan.partition))
        with ThreadPoolExecutor(READ_THREADS) as pool:
            copied = [
                path
                for path, done in zip(paths, pool.map(_Copy(source, plan.table.folder), paths), strict=True)
                if done
            ]
        wanted -= set(copied)
        adopted += len(copied)
        if copied:
            _LOG.info("%s takes over %d finished parts of %s", plan.table.uri, len(copied), source.uri)
    return adopted


class _Copy:
    """Copies one part at a time; calling it says whether the part is in the target folder then."""

    def __init__(self, source: Folder, target: Folder) -> None:
        self._source, self._target = source, target

    def __call__(self, path: str) -> bool:
        head, _, name = path.rpartition("/")
        temporary = f"{head}/" * bool(head) + f".{name}.{os.getpid()}-{uuid.uuid4().hex[:12]}.tmp"
        try:
            fs.copy_files(
                self._source.full(path),
                self._target.full(temporary),
                source_filesystem=self._source.filesystem,
                destination_filesystem=self._target.filesystem,
                use_threads=False,
            )
            if not self._target.publish(temporary, path):
                self._settle_with(path, temporary)
        except (OSError, SparktorchError) as error:
            _LOG.warning("%s could not be taken over, and is scored instead: %s", self._source.full(path), error)
            with contextlib.suppress(OSError):
                self._target.delete(temporary)
            return False
        return True

    def _settle_with(self, path: str, temporary: str) -> None:
        """Keep the file that has the name already if it is whole, since a commit may list it; else replace it."""
        taken = self._target.info(path)
        if taken is not None and verify_part(self._target, taken) is not None:
            self._target.delete(temporary)
        else:
            self._target.replace(temporary, path)

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
from functools import partial

from pyarrow import fs

from sparktorch_assets.errors import SparktorchError
from sparktorch_assets.lake.files.folder import Folder, read_threads
from sparktorch_assets.lake.files.partition_entries import partition_entries
from sparktorch_assets.lake.parts.file import publish_part, verify_parts
from sparktorch_assets.lake.plan import Plan
from sparktorch_assets.storage.hidden import hide_secrets

_LOG = logging.getLogger(__name__)


def adopt_parts(plans: Sequence[Plan], tables: Sequence[str]) -> int:
    """Copy finished parts of the plans' new shards from other tables into the plans', where the next plan finds them.

    They are committed like parts that an interrupted run has left. A part that cannot be copied is left to be scored.

    Args:
        plans: plans for one table: for the whole of it, or for partitions.
        tables: paths or URIs of the other tables' folders, which need not exist.

    Returns:
        The number of parts that were copied.
    """
    target, partitions = plans[0].table.folder, [plan.partition for plan in plans if plan.new]
    wanted = {shard.part_path for plan in plans for shard in plan.new}
    adopted = 0
    for table in tables:
        source = Folder(table)
        if not wanted or source.absolute == target.absolute:
            continue
        found = [entry for entry in partition_entries(source, partitions) if entry.path in wanted]
        paths = sorted(verify_parts(source, found))
        for folder in sorted({path.rpartition("/")[0] for path in paths}):
            target.create(folder)
        with ThreadPoolExecutor(read_threads(is_local=target.is_local)) as pool:
            done = pool.map(partial(_copy, source, target), paths)
            copied = {path for path, is_there in zip(paths, done, strict=True) if is_there}
        wanted -= copied
        adopted += len(copied)
        if copied:
            _LOG.info("%s takes over %d finished parts of %s", target.uri, len(copied), source.uri)
    return adopted


def _copy(source: Folder, target: Folder, path: str) -> bool:
    """Copy a part, and return whether it is in the target folder then."""
    head, _, name = path.rpartition("/")
    temporary = f"{head}/" * bool(head) + f".{name}.{os.getpid()}-{uuid.uuid4().hex[:12]}.tmp"
    try:
        fs.copy_files(
            source.full(path),
            target.full(temporary),
            source_filesystem=source.filesystem,
            destination_filesystem=target.filesystem,
            use_threads=False,
        )
        if publish_part(target, temporary, path) is not None:
            target.delete(temporary)
    except (OSError, SparktorchError) as error:
        _LOG.warning("%s could not be taken over, and is scored instead: %s", source.full(path), hide_secrets(error))
        with contextlib.suppress(OSError):
            target.delete(temporary)
        return False
    return True

"""Our own metadata of a table's commits: in the log, and that of the latest one in a file next to it.

Other writers delete old entries of a log once a checkpoint stands for them, and checkpoints hold no metadata of commits. The
file keeps what the next run has to know: where the shards end, what was scored again at request, who owns the table.
It counts only if the log has no commit of ours left, so that one that is missing or stale does no harm.
"""

import contextlib
import json
import logging
import uuid
from collections.abc import Iterator, Mapping

from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.log.history import commit_infos
from sparktorch_assets.storage.hidden import hide_secrets

_LOG = logging.getLogger(__name__)
METADATA_PREFIX = "sparktorch_assets."
"""Prefix of our keys in a commit's metadata, which they share with Delta's own keys."""
_KEPT = "_delta_log/_sparktorch_assets"
"""Readers of a log leave out names that they do not know; whoever deletes the log deletes this file with it."""


def our_metadata(folder: Folder, version: int | None = None) -> Iterator[dict[str, str]]:
    """Yield our own metadata of each commit up to `version`, the newest first; empty for a commit of another writer."""
    for commit in commit_infos(folder, version):
        yield {
            key.removeprefix(METADATA_PREFIX): str(value)
            for key, value in commit.items()
            if key.startswith(METADATA_PREFIX)
        }


def keep_metadata(folder: Folder, metadata: Mapping[str, str]) -> None:
    """Keep the metadata of the commit that was just made. If that cannot be written, it is not kept."""
    content = json.dumps(dict(metadata)).encode()
    temporary = f".{uuid.uuid4().hex}.tmp"  # a name that a vacuum knows as that of a temporary file
    try:
        with folder.open_output(temporary if folder.is_local else _KEPT) as sink:
            sink.write(content)
        if folder.is_local:  # a store shows an object when it is complete
            folder.filesystem.move(folder.full(temporary), folder.full(_KEPT))
    except OSError as error:
        _LOG.debug("the metadata of the last commit to %s are not kept: %s", folder.uri, hide_secrets(error))
        with contextlib.suppress(OSError):
            folder.delete(temporary)


def kept_metadata(folder: Folder) -> dict[str, str]:
    """What was kept last; empty if there is nothing, or if it is damaged."""
    try:
        with folder.open_input(_KEPT) as source:
            found = json.loads(source.read())
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}

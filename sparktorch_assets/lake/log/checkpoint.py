"""Writes a checkpoint of a table's log every few commits, and then deletes the entries that nobody needs any more.

A checkpoint is one Parquet file that lists the parts of a version. Whoever opens the table reads the latest one and the
commits after it, instead of every commit since the table was made. The commit has succeeded before anything is done
here, so a failure is only logged: the next commit that is due tries again.

delta-rs would do both by itself, right after each commit. It is told not to, because it raises if that fails, as though
the commit had failed; it deletes entries before their checkpoint is known to be on disk; and it knows nothing of the
commits from which this library reads what was published.
"""

import logging
from collections.abc import Mapping

from deltalake.transaction import PostCommitHookProperties

from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.log.expiry import delete_expired, retention_ms
from sparktorch_assets.lake.log.on_disk import sync_checkpoint
from sparktorch_assets.lake.log.snapshot import open_delta
from sparktorch_assets.storage.hidden import hide_secrets

_LOG = logging.getLogger(__name__)
NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
INTERVAL = 10
"""Every so many versions there is a checkpoint, unless the table's property `delta.checkpointInterval` says otherwise."""
_LARGE_BYTES = 8 << 20
"""A commit with a larger entry gets a checkpoint, whatever its version: as JSON, it takes ten times as long to read."""
_ACTION_BYTES = 250
"""Approximate size of an action in the log without its statistics."""


def keep_log_short(folder: Folder, version: int, properties: Mapping[str, str], stats: list[str]) -> None:
    """Write a checkpoint if one is due, and then delete expired entries. Never raises an `Exception`.

    Args:
        folder: the table's folder.
        version: the version that was just committed.
        properties: the table's properties.
        stats: the statistics of the parts that the commit added.
    """
    try:
        if not _is_due(version, properties, stats):
            return
        delta = open_delta(folder)
        if delta is None:
            return
        delta.create_checkpoint()
        sync_checkpoint(folder, delta.version())
        age_ms = retention_ms(properties)
        if age_ms is not None:
            delete_expired(folder, age_ms)
    except Exception as error:  # noqa: BLE001  (whatever it is, the commit has succeeded)
        _LOG.warning(
            "the log of %s could not be shortened after version %d, which is committed nevertheless: %s: %s",
            folder.uri,
            version,
            type(error).__name__,
            hide_secrets(error),
        )


def _is_due(version: int, properties: Mapping[str, str], stats: list[str]) -> bool:
    text = properties.get("delta.checkpointInterval", "")
    interval = int(text) if text.isdecimal() and int(text) else INTERVAL
    size = sum(map(len, stats)) + _ACTION_BYTES * len(stats)
    return (version > 0 and version % interval == 0) or size > _LARGE_BYTES

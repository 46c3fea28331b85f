"""A table that an asset makes whole from other tables: joined, counted, compared."""

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from sparktorch_assets.errors import CommitConflictError, TableError
from sparktorch_assets.lake.commit import METADATA_PREFIX
from sparktorch_assets.lake.folder import Folder
from sparktorch_assets.lake.snapshot import check_root, open_delta

_MADE_FROM = f"{METADATA_PREFIX}made_from"


def write_if_changed(table: str, rows: pa.Table, made_from: str) -> bool:
    """Replace the table by `rows`, in a new version, unless its latest version was made here and from the very same.

    Args:
        table: path or URI of the Delta table; created when missing.
        rows: all of its rows.
        made_from: stands for all that the rows depend on: a hash of the sources' data versions and of the code.

    Returns:
        Whether there is a new version.

    Raises:
        CommitConflictError: another writer changed the table meanwhile, to something else. Nothing was committed.
        TableError: the table cannot be written.
    """
    check_root(table)
    delta = open_delta(table)
    if _made_from(delta) == made_from:
        return False
    # delta-rs rebases a commit that lost a race onto the winner's, which here would keep the rows of both.
    properties = CommitProperties(custom_metadata={_MADE_FROM: made_from}, max_commit_retries=0)
    try:
        if delta is None:
            Folder(table).create()
            write_deltalake(table, rows, mode="error", commit_properties=properties)
        else:
            write_deltalake(delta, rows, mode="overwrite", schema_mode="overwrite", commit_properties=properties)
    except (DeltaError, OSError) as error:
        now = open_delta(table)
        if _version(now) == _version(delta):
            raise TableError(f"cannot write {table!r}: {error}") from error
        if _made_from(now) == made_from:
            return False  # another run wrote the very same
        raise CommitConflictError(
            f"another writer changed {table!r} while this run worked: it was at version {_version(delta)}, and is at "
            f"{_version(now)} now. Nothing of this run was committed; run it again"
        ) from error
    return True


def _made_from(delta: DeltaTable | None) -> str | None:
    return None if delta is None else delta.history(1)[0].get(_MADE_FROM)


def _version(delta: DeltaTable | None) -> int | None:
    return None if delta is None else int(delta.version())

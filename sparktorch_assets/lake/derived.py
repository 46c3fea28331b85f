"""A table that an asset makes whole from other tables: joined, counted, compared."""

import pyarrow as pa
from deltalake import CommitProperties, write_deltalake

from sparktorch_assets.lake.commit import METADATA_PREFIX
from sparktorch_assets.lake.snapshot import open_delta

_MADE_FROM = f"{METADATA_PREFIX}made_from"


def write_if_changed(table: str, rows: pa.Table, made_from: str) -> bool:
    """Replace the table by `rows`, in a new version, unless its latest version was made here and from the very same.

    Args:
        table: path or URI of the Delta table; created when missing.
        rows: all of its rows.
        made_from: stands for all that the rows depend on: a hash of the sources' data versions and of the code.

    Returns:
        Whether there is a new version.
    """
    delta = open_delta(table)
    if delta is not None and delta.history(1)[0].get(_MADE_FROM) == made_from:
        return False
    properties = CommitProperties(custom_metadata={_MADE_FROM: made_from})
    write_deltalake(table, rows, mode="overwrite", schema_mode="overwrite", commit_properties=properties)
    return True

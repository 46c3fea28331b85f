"""Finds the columns that encoders read, and reports their nulls as failures."""

import numpy as np
import pyarrow as pa

from sparktorch_assets.errors import InputSchemaError, nearest
from sparktorch_assets.predict.failures import RowFailure


def column_of(batch: pa.RecordBatch, name: str) -> pa.Array:
    """The column `name` of `batch`.

    Raises:
        InputSchemaError: the batch has no such column (a preprocessor may have left it out); the message names those it
            has.
    """
    place = batch.schema.get_field_index(name)
    if place < 0:
        raise InputSchemaError(f"the rows have no column {name!r} to encode; {nearest(name, batch.schema.names)}")
    return batch.column(place)


def null_failures(column: pa.Array, what: str) -> dict[int, RowFailure]:
    """A failure for every null of a column whose feature declares no fill; `what` names the column in the message."""
    if not column.null_count:
        return {}
    message = f"{what} is null and its feature declares no fill"
    return {int(row): RowFailure("encode", "Null", message) for row in np.flatnonzero(column.is_null().to_numpy(False))}

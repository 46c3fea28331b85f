"""Rows as dicts and rows as record batches, both ways, with one bad value costing one row."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from sparktorch_assets.errors import InputSchemaError, nearest
from sparktorch_assets.predict.failures import RowFailure


def rows_to_batch(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pa.RecordBatch:
    """`columns` of the rows as a record batch, with inferred types.

    Raises:
        InputSchemaError: no row has one of the columns.
    """
    for name in columns:
        if rows and not any(name in row for row in rows):
            raise InputSchemaError(f"the rows have no column {name!r}; {nearest(name, map(str, rows[0]))}")
    return pa.RecordBatch.from_arrays(
        [pa.array([row.get(name) for row in rows]) for name in columns], names=list(columns)
    )


def typed_batch(
    rows: Sequence[Mapping[str, Any] | None], schema: pa.Schema, stage: str
) -> tuple[pa.RecordBatch, dict[int, RowFailure]]:
    """Rows as a record batch of the given types; columns that the schema does not know keep an inferred type.

    A value that does not fit its type makes its row fail; `None` stands for a row that failed before, all nulls.
    """
    names = list(schema.names)
    for row in rows:
        names += [name for name in row or () if name not in names]
    failures: dict[int, RowFailure] = {}
    arrays = []
    for name in names:
        values = [None if row is None else row.get(name) for row in rows]
        kind = schema.field(name).type if name in schema.names else None
        arrays.append(_typed_column(name, values, kind, stage, failures))
    return pa.RecordBatch.from_arrays(arrays, names=names), failures


def _typed_column(
    name: str, values: list[Any], kind: pa.DataType | None, stage: str, failures: dict[int, RowFailure]
) -> pa.Array:
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        good: list[Any] = []
        for row, value in enumerate(values):
            try:
                pa.array([value], kind)
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                message = f"column {name!r}: a {type(value).__name__} does not fit {kind}"
                failures[row] = RowFailure(stage, type(error).__name__, message)
                good.append(None)
            else:
                good.append(value)
        try:
            return pa.array(good, kind)
        except (pa.ArrowException, TypeError, ValueError) as error:  # values that fit alone, but not one common type
            raise InputSchemaError(
                f"{stage}: column {name!r} holds values of several types ({error}); return one type, or declare it"
            ) from error

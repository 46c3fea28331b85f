"""A user's hooks around the model, on record batches: rows that a hook breaks on fail alone, rows that it leaves out
are dropped.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from sparktorch_assets.errors import HookError
from sparktorch_assets.predict.failures import Quarantine, RowFailure, Rows
from sparktorch_assets.predict.rows import typed_batch

_NULLABLE = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}


class HookedRows:
    """What a hook made of a record batch: the rows that stay, and why some of them failed."""

    def __init__(self, batch: pa.RecordBatch, rows: Rows, failures: dict[int, RowFailure]) -> None:
        self.batch = batch
        """The rows that stay, in order; a failed row holds what it held before the hook."""
        self.rows = rows
        """For each of them, its row in the batch that the hook was given."""
        self.failures = failures
        """By row of `batch`."""


def apply_row_hook(
    hook: Callable[[dict[str, Any]], dict[str, Any] | None],
    batch: pa.RecordBatch,
    stage: str,
    skip: dict[int, RowFailure],
    types: pa.Schema,
) -> HookedRows:
    """Call `hook` with every row as a dict, except the rows in `skip`, which failed before and stay as they are.

    Args:
        types: the types of columns that the result must have; columns it does not name keep an inferred type.

    Raises:
        HookError: the hook returned something other than a dict or `None`.
    """
    kept: list[int] = []
    results: list[dict[str, Any]] = []
    failures: dict[int, RowFailure] = {}
    for row, values in enumerate(batch.to_pylist()):
        result: Any = values
        if row not in skip:
            try:
                result = hook(dict(values))
            except Exception as error:  # noqa: BLE001  (whatever the user's code raises is the row's failure)
                failures[len(kept)] = RowFailure.of(stage, error)
                result = values
        if result is None:
            continue
        if not isinstance(result, dict):
            raise HookError(
                f"{stage} gave a {type(result).__name__} for a row; return the row as a dict, or None to drop it"
            )
        if row in skip:
            failures[len(kept)] = skip[row]
        kept.append(row)
        results.append(result)
    present = {name for result in results for name in result}
    hooked, misfits = typed_batch(results, pa.schema([field for field in types if field.name in present]), stage)
    return HookedRows(hooked, np.array(kept, dtype=np.int64), {**misfits, **failures})


def apply_batch_hook(
    hook: Callable[[pd.DataFrame], pd.DataFrame],
    batch: pa.RecordBatch,
    stage: str,
    skip: dict[int, RowFailure],
    types: pa.Schema,
    quarantine: Quarantine,
) -> HookedRows:
    """Call `hook` with the rows as a DataFrame (index 0 ... n-1), without the rows in `skip`, which stay as they are.

    Rows whose index label the result lacks are dropped. Integer and boolean columns with nulls come as pandas'
    nullable types, so that no integer passes through a float.

    Raises:
        HookError: the result is no DataFrame, or its index repeats a label or has one that was not given.
    """
    rows = np.flatnonzero(~np.isin(np.arange(batch.num_rows), np.fromiter(skip, dtype=np.int64, count=len(skip))))
    pieces, failed = quarantine.run(stage, rows, lambda part: _call(hook, batch, part, stage, types))
    failed |= skip
    held = [result for _, result in pieces]
    if failed:  # they keep what they had before the hook, in their places
        stay = np.array(sorted(failed), dtype=np.int64)
        held.append((stay, batch.take(pa.array(stay))))
    if not held:
        return HookedRows(batch.slice(0, 0), rows[:0], {})
    positions = np.concatenate([part for part, _ in held])
    order = np.argsort(positions, kind="stable")
    tables = [pa.Table.from_batches([columns]) for _, columns in held]
    joined = pa.concat_tables(tables, promote_options="permissive").take(pa.array(order)).combine_chunks()
    result = joined.to_batches()[0] if joined.num_rows else batch.slice(0, 0)
    where = {int(row): position for position, row in enumerate(positions[order])}
    return HookedRows(result, positions[order], {where[row]: failure for row, failure in failed.items()})


def _call(
    hook: Callable[[pd.DataFrame], pd.DataFrame], batch: pa.RecordBatch, part: Rows, stage: str, types: pa.Schema
) -> tuple[Rows, pa.RecordBatch]:
    given = batch if len(part) == batch.num_rows else batch.take(pa.array(part))
    frame = pd.DataFrame(
        {
            name: column.to_pandas(types_mapper=_NULLABLE.get if column.null_count else None)
            for name, column in zip(given.schema.names, given.columns, strict=True)
        }
    )
    frame.index = pd.Index(part)
    result = hook(frame)
    if not isinstance(result, pd.DataFrame):
        raise HookError(f"{stage} gave a {type(result).__name__}; return a pandas DataFrame")
    labels = result.index
    if not labels.is_unique or not labels.isin(part).all():
        raise HookError(
            f"{stage} gave a DataFrame whose index repeats labels or has ones it was not given; keep the index of the "
            f"rows (no reset_index), and leave a row out to drop it"
        )
    arrays = [
        pa.Array.from_pandas(result[name], type=types.field(name).type if name in types.names else None)
        for name in result.columns
    ]
    return labels.to_numpy(dtype=np.int64), pa.RecordBatch.from_arrays(
        arrays, names=[str(name) for name in result.columns]
    )

"""Applies a user's hooks to record batches: a row on which a hook raises fails alone, rows that a hook leaves out are
dropped, and values that it does not change are passed through unconverted.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from sparktorch_assets.errors import HookError
from sparktorch_assets.predict.failures import Quarantine, RowFailure, Rows, is_about_the_row
from sparktorch_assets.predict.predictions import without_dictionaries
from sparktorch_assets.predict.rows.changes import changed_column, changed_values
from sparktorch_assets.predict.rows.convert import column_of_values, own_memory, settle_types
from sparktorch_assets.predict.rows.pandas_columns import from_pandas, to_pandas

_INDEX_NAME = "__row__"
"""The name of the index that a batch hook gets. pandas keeps the name as long as rows keep their labels. `reset_index`
and a newly built frame lose it, which reveals that labels may no longer refer to the original rows."""


class HookedRows:
    """The result of a hook on a record batch: the remaining rows, and why some of them failed."""

    def __init__(self, batch: pa.RecordBatch, rows: Rows, failures: dict[int, RowFailure]) -> None:
        self.batch = batch
        """The remaining rows, in order; a failed row has the values that it had before the hook."""
        self.rows = rows
        """For each remaining row, its row in the hook's input batch."""
        self.failures = failures
        """The failures, by row of `batch`."""


def apply_row_hook(
    hook: Callable[[dict[str, Any]], dict[str, Any] | None],
    batch: pa.RecordBatch,
    stage: str,
    skip: dict[int, RowFailure],
    types: pa.Schema,
) -> HookedRows:
    """Call `hook` with every row as a dict, except the rows in `skip`, which have failed already and stay unchanged.

    Values that the hook does not change are not converted. A changed value that does not fit its column's declared type
    makes its row fail; without a declared type, the column keeps its type if every value fits it, else it gets an
    inferred one.

    Args:
        types: the types of columns that the result must have.

    Raises:
        HookError: the hook returned something other than a dict or `None`.
    """
    batch = without_dictionaries(batch)
    given, unreadable = _dicts(batch, stage)
    skip = unreadable | skip
    kept: list[int] = []
    results: list[dict[str, Any] | None] = []  # None: the row failed, and keeps its values
    names: dict[Any, Any] = {}
    failures: dict[int, RowFailure] = {}
    for row, values in enumerate(given):
        if row in skip:
            failures[len(kept)] = skip[row]
            kept.append(row)
            results.append(None)
            continue
        try:
            result: Any = hook(dict(values))
        except BaseException as error:
            if not is_about_the_row(error):
                raise
            failures[len(kept)] = RowFailure.of(stage, error)
            kept.append(row)
            results.append(None)
            continue
        if result is None:
            continue
        if not isinstance(result, dict):
            raise HookError(
                f"{stage} returned a {type(result).__name__} for a row; return the row as a dict, or None to drop it"
            )
        names.update(result)
        kept.append(row)
        results.append(dict(result))  # a hook may reuse one dict
    for name in [name for name in names if not isinstance(name, str)]:
        del names[name]
        for place, result in enumerate(results):
            if result is not None and name in result:
                message = f"the hook returned a column whose name is a {type(name).__name__}; names must be strings"
                failures[place], results[place] = RowFailure(stage, "TypeError", message), None
    rows = np.array(kept, dtype=np.int64)
    stayed = batch if len(kept) == batch.num_rows else batch.take(pa.array(rows))
    if not any(result is not None for result in results):
        return HookedRows(stayed, rows, failures)
    before = dict(zip(stayed.schema.names, stayed.columns, strict=True))
    if len(kept) < batch.num_rows:
        given = [given[row] for row in kept]
    changes = changed_values(list(before), given, results)
    arrays, ordered = [], [name for name in before if name in names] + [name for name in names if name not in before]
    for name in ordered:
        kind = types.field(name).type if types.get_field_index(name) >= 0 else None
        if name not in before:
            new = [None if result is None else result.get(name) for result in results]
            array, misfits = column_of_values(name, new, stage, kind=kind)
        else:
            array, misfits = changed_column(name, results, given, changes[name], before[name], kind, stage)
        arrays.append(array)
        failures = misfits | failures
    return HookedRows(pa.RecordBatch.from_arrays(arrays, names=ordered), rows, failures)


def _dicts(batch: pa.RecordBatch, stage: str) -> tuple[list[dict[str, Any]], dict[int, RowFailure]]:
    """The rows as dicts, and a failure for each row with a value that Python cannot represent, such as a date after the
    year 9999; the dict of such a row is empty."""
    try:
        return batch.to_pylist(), {}
    except (pa.ArrowException, ValueError, OverflowError):
        rows: list[dict[str, Any]] = []
        failures: dict[int, RowFailure] = {}
        for row in range(batch.num_rows):
            try:
                rows += batch.slice(row, 1).to_pylist()
            except (pa.ArrowException, ValueError, OverflowError) as error:
                failures[row] = RowFailure.of(stage, error)
                rows.append({})
        return rows, failures


def apply_batch_hook(
    hook: Callable[[pd.DataFrame], pd.DataFrame],
    batch: pa.RecordBatch,
    stage: str,
    skip: dict[int, RowFailure],
    types: pa.Schema,
    quarantine: Quarantine,
) -> HookedRows:
    """Call `hook` with the rows as a DataFrame (index 0 ... n-1), without the rows in `skip`, which stay unchanged.

    Rows whose index label is missing from the result are dropped. Integer and boolean columns with nulls have pandas'
    nullable types, and lists, structs and maps are Arrow-backed, so that no integer is converted to a float. pandas
    holds a null in a float column as NaN: a NaN of the input stays NaN, and a NaN that the hook creates becomes a null.

    Raises:
        HookError: the result is not a DataFrame, its index is not that of the rows, or its column names are not unique
            strings.
    """
    batch = without_dictionaries(batch)
    rows = np.flatnonzero(~np.isin(np.arange(batch.num_rows), np.fromiter(skip, dtype=np.int64, count=len(skip))))
    pieces, failed = quarantine.run(stage, rows, lambda part: _call(hook, batch, part, stage, types))
    failed |= skip
    held = []
    known: dict[str, pa.DataType] = {}
    for _, (stay, found, misfits) in pieces:
        columns, unfit = settle_types(found, known, stage)
        known = {field.name: field.type for field in columns.schema if not pa.types.is_null(field.type)} | known
        held.append((stay, columns))
        failed |= {int(stay[place]): failure for place, failure in {**unfit, **misfits}.items()}
    broken = sorted(failed.keys() - {int(row) for stay, _ in held for row in stay}) if failed else []
    if broken:  # they keep their values from before the hook, and their positions
        stay = np.array(broken, dtype=np.int64)
        held.append((stay, settle_types(batch.take(pa.array(stay)), known, stage)[0]))
    if not held:
        return HookedRows(batch.slice(0, 0), rows[:0], {})
    positions = np.concatenate([part for part, _ in held])
    tables = [pa.Table.from_batches([columns]) for _, columns in held]
    joined = pa.concat_tables(tables, promote_options="permissive")
    if not (np.diff(positions) > 0).all():
        order = np.argsort(positions, kind="stable")
        joined, positions = joined.take(pa.array(order)), positions[order]
    joined = joined.combine_chunks()
    result = joined.to_batches()[0] if joined.num_rows else batch.slice(0, 0)
    where = {int(row): position for position, row in enumerate(positions)} if failed else {}
    return HookedRows(result, positions, {where[row]: failure for row, failure in failed.items()})


def _call(
    hook: Callable[[pd.DataFrame], pd.DataFrame], batch: pa.RecordBatch, part: Rows, stage: str, types: pa.Schema
) -> tuple[Rows, pa.RecordBatch, dict[int, RowFailure]]:
    """The remaining rows, their columns, and their failures by index among them."""
    given = batch if len(part) == batch.num_rows else batch.take(pa.array(part))
    frame = pd.DataFrame(
        {name: to_pandas(column) for name, column in zip(given.schema.names, given.columns, strict=True)}
    )
    frame.index = pd.RangeIndex(len(part), name=_INDEX_NAME)
    result = hook(frame)
    if not isinstance(result, pd.DataFrame):
        raise HookError(f"{stage} returned a {type(result).__name__}; return a pandas DataFrame")
    labels = _labels(result, len(part), stage)
    if not result.columns.is_unique or not all(isinstance(name, str) for name in result.columns):
        raise HookError(f"{stage} returned columns {list(result.columns)!r:.200}; names must be unique strings")
    if not _is_every_row(labels, given.num_rows):
        given = given.take(pa.array(labels))
    before = dict(zip(given.schema.names, given.columns, strict=True))
    failures: dict[int, RowFailure] = {}
    arrays = []
    for name in map(str, result.columns):
        kind = types.field(name).type if types.get_field_index(name) >= 0 else None
        array, misfits = from_pandas(name, result[name], kind, before.get(name), stage)
        arrays.append(own_memory(array))  # a hook may reuse one frame
        failures = misfits | failures
    return part[labels], pa.RecordBatch.from_arrays(arrays, names=list(result.columns)), failures


def _labels(result: pd.DataFrame, rows: int, stage: str) -> Rows:
    """For each row of the result, its index among the input rows."""
    index = result.index
    if not len(index):
        return np.zeros(0, dtype=np.int64)
    if index.name == _INDEX_NAME and isinstance(index, pd.RangeIndex) and index.equals(pd.RangeIndex(rows)):
        return np.arange(rows)
    if index.name != _INDEX_NAME or not index.is_unique or not index.isin(range(rows)).all():
        raise HookError(
            f"{stage} returned a DataFrame with another index than its input, so its rows cannot be matched; keep the "
            f"index of the rows (no reset_index; pass index=frame.index to a new DataFrame); leave a row out to drop it"
        )
    return index.to_numpy(dtype=np.int64)


def _is_every_row(labels: Rows, rows: int) -> bool:
    """Whether the labels, each of another row, are those of all rows in order."""
    return len(labels) == rows and bool((np.diff(labels) > 0).all())

"""Finds the values of existing columns that a row hook changed, and converts no others."""

from itertools import compress
from operator import is_not
from typing import Any

import numpy as np
import pyarrow as pa

from sparktorch_assets.predict.failures import RowFailure
from sparktorch_assets.predict.rows.convert import column_of_values, conform_rows


def changed_values(
    names: list[str], given: list[dict[str, Any]], results: list[dict[str, Any] | None]
) -> dict[str, dict[int, Any]]:
    """For each column that existed before the hook, the values that the hook replaced, by row."""
    changes: dict[str, dict[int, Any]] = {name: {} for name in names}
    for row, (old, result) in enumerate(zip(given, results, strict=True)):
        if result is not None:
            # Most values of a wide row are the same objects as before: C code goes past them.
            for name in compress(names, map(is_not, old.values(), map(result.get, names))):
                changes[name][row] = result.get(name)
    return changes


def changed_column(
    name: str,
    results: list[dict[str, Any] | None],
    given: list[dict[str, Any]],
    changed: dict[int, Any],
    before: pa.Array,
    kind: pa.DataType | None,
    stage: str,
) -> tuple[pa.Array, dict[int, RowFailure]]:
    """A column that existed before the hook, and a failure for each value that does not fit; only the values that the
    hook changed are converted.

    Args:
        name: the column's name.
        results: what the hook returned for each row; `None` for a row that failed, which keeps its values.
        given: the rows before the hook.
        changed: the values that the hook replaced, by row, from `changed_values`.
        before: the column before the hook.
        kind: the type that the column must have. If `None`, it keeps its type if every value fits that, else it gets
            the type that was found.
        stage: the name of the hook.
    """
    if pa.types.is_nested(before.type):  # the hook may have changed a list or dict in place: compare with a fresh copy
        new = {row: result.get(name) for row, result in enumerate(results) if result is not None}
        fresh = before.take(pa.array(list(new), pa.int64())).to_pylist()
        changed = {row: value for (row, value), old in zip(new.items(), fresh, strict=True) if _differ(old, value)}
    if not changed:
        return (before, {}) if kind is None else conform_rows(before, kind, name, stage)
    array, misfits = column_of_values(name, list(changed.values()), stage, kind=kind, like=before.type)
    places = np.fromiter(changed, dtype=np.int64, count=len(changed))
    failures = {int(places[row]): failure for row, failure in misfits.items()}
    if array.type != before.type:
        if kind is None:  # convert all values to the new type, if there is one for all
            rows = zip(given, results, strict=True)
            return column_of_values(name, [(old if new is None else new).get(name) for old, new in rows], stage)
        before, unfit = conform_rows(before, kind, name, stage)
        failures = {row: failure for row, failure in unfit.items() if row not in changed} | failures
    source = np.arange(len(before))
    source[places] = len(before) + np.arange(len(places))
    return pa.concat_arrays([before, array]).take(pa.array(source)), failures


def _differ(old: Any, new: Any) -> bool:
    """Whether a value was changed; if the comparison raises, it counts as changed, and is converted."""
    try:
        return type(old) is not type(new) or bool(old != new)
    except Exception:  # noqa: BLE001  (a user's type may raise anything when it is compared)
        return True

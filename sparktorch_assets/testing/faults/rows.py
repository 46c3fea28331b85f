"""Says whether a table holds exactly the rows that it should, and what lies in its folder besides."""

import math
from collections.abc import Sequence
from typing import Any

from sparktorch_assets.lake.table import Table
from sparktorch_assets.lake.vacuum import vacuum

_BATCH_ROWS = 1 << 16
_Row = dict[str, Any]


def assert_same_rows(table: str, reference: str, *, key: Sequence[str], tolerance: float = 1e-5) -> None:
    """Assert that two tables hold the same rows, whatever their order and files.

    Both are read into memory. The message of a failure has counts and names of columns, and no values.

    Args:
        table: path or URI of the table after the faults.
        reference: path or URI of the table that was made without any.
        key: columns that tell the reference's rows apart.
        tolerance: how far numbers may differ, relative to the larger one or, below 1, absolutely: the size of a batch
            changes the last digits of a prediction.

    Raises:
        AssertionError: rows are missing, doubled, unknown or different; or `key` does not tell the reference's apart.
    """
    found, due = _by_key(table, key), _by_key(reference, key)
    ambiguous = sum(len(rows) > 1 for rows in due.values())
    assert not ambiguous, f"{reference}: {', '.join(key)} does not tell rows apart: {ambiguous:,} values repeat"
    missing = len(due.keys() - found.keys())
    unknown = sum(len(rows) for value, rows in found.items() if value not in due)
    doubled = sum(len(rows) - 1 for value, rows in found.items() if value in due)
    differing: dict[str, int] = {}
    for value in due.keys() & found.keys():
        (row,) = due[value]
        for name in row.keys() | found[value][0].keys():
            if not _is_close(row.get(name), found[value][0].get(name), tolerance):
                differing[name] = differing.get(name, 0) + 1
    wrong = [
        f"{count:,} {said}"
        for count, said in (
            (missing, "are missing"),
            (doubled, "are there once more"),
            (unknown, "are unknown"),
            *((count, f"have another {name!r}") for name, count in sorted(differing.items())),
        )
        if count
    ]
    assert not wrong, f"{table} differs from {reference}: of {len(due):,} rows, {', '.join(wrong)}"


def leftovers(table: str) -> list[str]:
    """What a vacuum would delete in the table's folder now: temporary files, and parts that the latest version does not
    list. Parts that a later run may still use are among them.

    Args:
        table: path or URI of a table.

    Raises:
        TableError: there is no table.
    """
    return list(vacuum(table, retention_hours=0, dry_run=True).files)


def _by_key(table: str, key: Sequence[str]) -> dict[tuple[str, ...], list[_Row]]:
    found: dict[tuple[str, ...], list[_Row]] = {}
    opened = Table(table)
    for _, batch in opened.batches(opened.schema.names, _BATCH_ROWS):
        for row in batch.to_pylist():
            found.setdefault(tuple(repr(row[name]) for name in key), []).append(row)
    return found


def _is_close(one: Any, other: Any, tolerance: float) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        both_nan = math.isnan(one) and math.isnan(other)
        return both_nan or math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_is_close(a, b, tolerance) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_close(one[name], other[name], tolerance) for name in one)
    return bool(one == other)

"""Why rows failed, for the error of a refresh that commits nothing: for each frequent reason one message and some rows.

They are read from the parts that the refresh wrote. A task with `preview_rows=0` shows only reasons and counts, since
messages and keys are contents of rows.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from sparktorch_assets.errors import FailureReason, TableError, TooManyFailedRowsError
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.parquet.footers import read_footers
from sparktorch_assets.predict.failures import reason_in
from sparktorch_assets.spark.score.failures.failed_rows import failed_batches, part_files
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import MlTask

_REASONS = 5
_ROWS_PER_REASON = 5
_KEY_COLUMNS = 3
"""The largest number of columns that tell the shown rows apart."""
_LONGEST_VALUE = 60


def too_many_failed_rows(
    task: MlTask, problem: str, tally: Tally, folder: Folder, parts: Mapping[str, Tally], *, kept: bool
) -> TooManyFailedRowsError:
    """The error of a refresh with too many failed rows.

    Args:
        task: the task that was run.
        problem: how many rows failed, and over which limit.
        tally: the tally of the whole table.
        folder: the table's folder.
        parts: path -> tally, for the finished files in the folder that this refresh would have committed.
        kept: whether they stay in the folder.
    """
    reasons = _reasons(task, tally, folder, parts)
    lines = [
        f"  {reason.message}" + (f" (in the rows {'; '.join(reason.rows_shown)})" if reason.rows_shown else "")
        for reason in reasons
        if reason.message
    ]
    way_out = "Nothing was committed: fix the rows or the task, or raise the limit."
    if kept:
        way_out += f" sparktorch_assets.failed_rows({folder.absolute!r}, uncommitted=True) returns these rows"
    return TooManyFailedRowsError("\n".join([problem, *lines, way_out]), reasons=reasons)


def _reasons(task: MlTask, tally: Tally, folder: Folder, parts: Mapping[str, Tally]) -> tuple[FailureReason, ...]:
    frequent = sorted(tally.reasons.items(), key=lambda item: (-item[1], item[0]))[:_REASONS]
    found: dict[str, list[dict[str, Any]]] = {reason: [] for reason, _ in frequent}
    if task.preview_rows > 0:
        # The rows only illustrate the error. If a part has been deleted meanwhile, the error is still the right one.
        with contextlib.suppress(OSError, TableError, pa.ArrowException):
            _collect(task, folder, parts, found)
    keys = _key_columns(task, [row for rows in found.values() for row in rows])
    return tuple(
        FailureReason(
            reason=reason,
            rows=count,
            message=_printable(found[reason][0][task.error_column]) if found[reason] else "",
            rows_shown=tuple(_named(row, keys) for row in found[reason] if keys),
        )
        for reason, count in frequent
    )


def _collect(task: MlTask, folder: Folder, parts: Mapping[str, Tally], found: dict[str, list[dict[str, Any]]]) -> None:
    """Add up to _ROWS_PER_REASON rows to each reason. Parts without a reason that still lacks rows are not read."""
    for path, tally in sorted(parts.items()):
        wanted = {reason for reason, rows in found.items() if len(rows) < _ROWS_PER_REASON} & tally.reasons.keys()
        for row in _rows(task, folder, path) if wanted else ():
            reason = reason_in(row[task.error_column])
            if reason in wanted:
                found[reason].append(row)
                if len(found[reason]) == _ROWS_PER_REASON:
                    wanted.discard(reason)
            if not wanted:
                break


def _rows(task: MlTask, folder: Folder, path: str) -> Iterator[dict[str, Any]]:
    (file,) = part_files(folder, [path])
    (footer,) = read_footers([file])
    candidates = _candidates(task, footer.schema)
    wanted = pa.schema([footer.schema.field(name) for name in (*candidates, task.error_column)])
    for batch in failed_batches(file, wanted, task.error_column):
        try:
            yield from batch.to_pylist()
        except (OverflowError, ValueError):  # a date or time outside Python's years 1 to 9999
            texts = pa.schema([field.with_type(pa.string()) for field in wanted])
            yield from pa.Table.from_batches([batch]).cast(texts).to_pylist()


def _candidates(task: MlTask, schema: pa.Schema) -> list[str]:
    """The kept columns that may name a row, the likeliest first: features and fractions rarely do."""
    added = {column.name for column in task.output_columns}
    plain = [field.name for field in schema if field.name not in added and _names_things(field.type)]
    return sorted(plain, key=lambda name: name in task.feature_columns)[:_KEY_COLUMNS]


def _names_things(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_date(kind)
        or pa.types.is_timestamp(kind)
    )


def _key_columns(task: MlTask, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The first candidates that together differ in all of the rows."""
    names = [name for name in rows[0] if name != task.error_column] if rows else []
    for count in range(1, len(names)):
        if len({tuple(str(row[name]) for name in names[:count]) for row in rows}) == len(rows):
            return names[:count]
    return names


def _named(row: Mapping[str, Any], keys: Sequence[str]) -> str:
    return ", ".join(f"{_printable(key)}={_printable(str(row[key]))[:_LONGEST_VALUE]}" for key in keys)


def _printable(text: str) -> str:
    """`text` without line ends and other characters that a terminal would obey: it comes from data."""
    return "".join(character if character.isprintable() else " " for character in text)

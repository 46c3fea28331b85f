"""A few failed rows of a prediction table for its page: some for each frequent reason, from few of its parts."""

import heapq
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.files.partition_values import Partition
from sparktorch_assets.lake.table import Table
from sparktorch_assets.predict.failures import reason_in
from sparktorch_assets.spark.score.failures.failed_rows import failed_batches
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import MlTask

_REASONS, _ROWS_PER_REASON = 5, 3
_COLUMNS = 5
"""The largest number of kept columns that are shown with the reason."""
_PARTS = 64
"""The largest number of parts that are looked at, the newest first."""
_BATCHES = 16
"""The largest number of batches of failed rows that are looked at in a part."""


def failed_sample(task: MlTask, table: Table, tally: Tally, partition: Partition = ()) -> list[dict[str, Any]]:
    """Failed rows with their reason and some of the kept columns, those of one reason next to each other; empty if no
    row failed, or if the task keeps row contents out of Dagster (`preview_rows: 0`).

    Args:
        task: the task that made the table.
        table: the table.
        tally: the tally of the table or of the partition, which says what there is to look for.
        partition: the partition to look into; `()` is the whole table.
    """
    if not tally.failed or not task.preview_rows:
        return []
    frequent = heapq.nsmallest(_REASONS, tally.reasons, key=lambda reason: (-tally.reasons[reason], reason))
    found: dict[str, list[dict[str, Any]]] = {reason: [] for reason in frequent}
    added = {column.name for column in task.output_columns}
    kept = [field for field in table.schema if field.name not in added][:_COLUMNS]
    wanted = pa.schema([table.schema.field(task.error_column), *kept])
    for row in _rows(table, wanted, task.error_column, partition):
        rows = found.get(reason_in(row[task.error_column]), [])
        if len(rows) < _ROWS_PER_REASON:
            rows.append(row)
        if all(len(rows) == min(_ROWS_PER_REASON, tally.reasons[reason]) for reason, rows in found.items()):
            break
    return [row for rows in found.values() for row in rows]


def _rows(table: Table, wanted: pa.Schema, error_column: str, partition: Partition) -> Iterator[dict[str, Any]]:
    parts: list[DataFile] = list(table.snapshot.parts_of(partition).values())
    for part in heapq.nlargest(_PARTS, parts, key=lambda part: (part.modified_ms, part.path)):
        for _, batch in zip(range(_BATCHES), failed_batches(part, wanted, error_column), strict=False):
            yield from batch.slice(0, _REASONS * _ROWS_PER_REASON * 20).to_pylist()

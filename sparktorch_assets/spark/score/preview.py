"""`preview_rows`: predictions of the first rows of a table, which are returned and written nowhere."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sparktorch_assets.lake.table import Table
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.rows.filter import BatchFilter
from sparktorch_assets.spark.ml_predict import spark_ml_predict
from sparktorch_assets.tasks import MlTask, RowFilter, SlotPolicy

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_BATCH_ROWS = 4096


def preview_rows(
    spark_session: "Callable[[], SparkSession] | SparkSession",
    input_table: str,
    ml_task: MlTask | str,
    rows: int,
    *,
    model_loader: ModelLoader,
    where: Sequence[RowFilter] = (),
    slots: SlotPolicy | None = None,
    batch_size: int | None = None,
) -> list[dict[str, Any]]:
    """The first rows of a table for which the task's conditions hold, with their predictions, as dictionaries.

    Args:
        spark_session: see `score_table`.
        input_table: path or URI of the task's input.
        ml_task: see `score_table`.
        rows: number of rows at most.
        model_loader: see `score_table`.
        where: further conditions on the input rows, such as those of a partition.
        slots: see `score_table`.
        batch_size: see `score_table`.

    Raises:
        TableError: there is no such table.
        SparktorchError: as for `spark_ml_predict`.
    """
    loader, task = model_loader.settled(ml_task)
    found = _first_rows(Table(input_table), rows, BatchFilter((*task.where, *where), f"task {task.name!r}"))
    session = spark_session() if callable(spark_session) else spark_session
    predicted = spark_ml_predict(
        session,
        session.createDataFrame(found),
        task,
        parallel=1,
        batch_size=batch_size,
        model_loader=loader,
        slots=slots,
    )
    return [row.asDict(recursive=True) for row in predicted.collect()]


def _first_rows(table: Table, rows: int, conditions: BatchFilter) -> pa.Table:
    batches, count = [], 0
    for _, batch in table.batches(table.schema.names, _BATCH_ROWS):
        chosen = conditions.rows(batch).slice(0, rows - count)
        batches.append(chosen)
        count += chosen.num_rows
        if count == rows:
            break
    return pa.Table.from_batches(batches, table.schema)

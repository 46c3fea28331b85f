"""Predicts the rows of a partition: record batches or dicts in, the same with predictions out. Importing this loads
neither torch nor pandas."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import pyarrow as pa

from sparktorch_assets.errors import InputSchemaError
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.local import LocalPredictor
from sparktorch_assets.predict.rows.convert import rows_to_batch
from sparktorch_assets.predict.schema import output_schema
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.ml_task import MlTask
from sparktorch_assets.tasks.slot_policy import SlotPolicy

K = TypeVar("K")

ROWS_PER_BATCH = 8192
"""Number of dicts that are converted to a record batch at once."""


def predict_batches(
    batches: Iterable[pa.RecordBatch], *, predictor: LocalPredictor, schema: pa.Schema, tally: Tally | None = None
) -> Iterator[pa.RecordBatch]:
    """Predict a stream of record batches, in order.

    Args:
        batches: record batches that hold at least the task's `read_columns`.
        predictor: the slot's model.
        schema: the schema of the result, from `output_schema`.
        tally: counts and seconds are added to it; complete once the iterator is exhausted.
    """
    counted = Tally() if tally is None else tally
    keyed = ((None, batch) for batch in batches)
    for _, batch in predict_keyed(keyed, predictor=predictor, schema=schema, tally_of=lambda _: counted):
        yield batch


def predict_keyed(
    batches: Iterable[tuple[K, pa.RecordBatch]],
    *,
    predictor: LocalPredictor,
    schema: pa.Schema,
    tally_of: Callable[[K], Tally],
    on_rows: Callable[[int], None] = lambda _rows: None,
) -> Iterator[tuple[K, pa.RecordBatch]]:
    """Like `predict_batches`, for record batches that carry a key (the shard that they belong to).

    `on_rows` is called with the number of rows that were just predicted, failed or left out; they are yielded later, in
    whole windows. It is called from other threads if stages run concurrently. When a record batch is yielded, all keys
    before its own are complete, including those without any rows left.
    """
    from sparktorch_assets.predict.pipeline import Pipeline

    yield from Pipeline(predictor, predictor.for_run(), schema, tally_of, on_rows).run(batches)


def predict_map(
    index: int,
    partition: Iterable[Any],
    ml_task: MlTask | str,
    batch_size: int | None = None,
    row_preprocessor: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None,
    row_postprocessor: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None,
    *,
    batch_preprocessor: Callable[[Any], Any] | None = None,
    batch_postprocessor: Callable[[Any], Any] | None = None,
    model_loader: ModelLoader | None = None,
    slots: SlotPolicy | None = None,
    concurrent_slots: int = 1,
    gpu_addresses: Sequence[str] = (),
    tally: Tally | None = None,
) -> Iterator[Any]:
    """Predict the rows of one partition.

    Args:
        index: the partition's number.
        partition: record batches, or rows (dicts or anything that `dict()` takes, such as `Row.asDict()`); the result
            is of the same kind, in the same order, without the rows that a hook dropped.
        ml_task: the task, or the name of one that `model_loader` knows.
        batch_size: rows per forward pass; every batch has exactly this many rows, except the last.
        row_preprocessor: changes what the model sees of a row, or drops the row; the output keeps the input's own
            columns.
        row_postprocessor: gets a row with its predictions, and returns what is to be kept of it.
        batch_preprocessor: as `row_preprocessor`, for some rows as a DataFrame.
        batch_postprocessor: as `row_postprocessor`, for some rows as a DataFrame.
        model_loader: as for `LocalPredictor`.
        slots: as for `LocalPredictor`.
        concurrent_slots: as for `LocalPredictor`.
        gpu_addresses: as for `LocalPredictor`.
        tally: counts and seconds are added to it.

    Raises:
        InputSchemaError, ModelError, DeviceError, UnknownTaskError: the task cannot run on these rows or here.
        ModelError: raised after the last row if a file of the model has changed since the model was brought up, because
            it is not known which content the rows were predicted with.
    """
    predictor = LocalPredictor(
        ml_task,
        batch_size,
        index,
        model_loader=model_loader,
        slots=slots,
        concurrent_slots=concurrent_slots,
        gpu_addresses=gpu_addresses,
    )
    predictor.task = predictor.task.with_hooks(
        row_preprocessor=row_preprocessor,
        batch_preprocessor=batch_preprocessor,
        row_postprocessor=row_postprocessor,
        batch_postprocessor=batch_postprocessor,
    )
    try:
        yield from _predict_items(partition, predictor, tally)
    finally:
        predictor.close()


def _predict_items(partition: Iterable[Any], predictor: LocalPredictor, tally: Tally | None) -> Iterator[Any]:
    items = iter(partition)
    first = next(items, None)
    if first is None:
        return
    items = itertools.chain([first], items)
    if isinstance(first, pa.RecordBatch):
        yield from predict_batches(
            items, predictor=predictor, schema=output_schema(predictor.task, first.schema), tally=tally
        )
        predictor.files.check()
        return
    # Rows may differ in schema. Consecutive rows of one schema are predicted together, so that no value is changed to
    # fit those of another.
    for schema, batches in itertools.groupby(_rows_in_batches(items, ROWS_PER_BATCH), key=lambda batch: batch.schema):
        wanted = output_schema(predictor.task, schema)
        for batch in predict_batches(batches, predictor=predictor, schema=wanted, tally=tally):
            yield from batch.to_pylist()
    predictor.files.check()


def _rows_in_batches(rows: Iterator[Any], batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Rows as record batches, each with the columns and types of the rows in it."""
    known: dict[str, pa.DataType] = {}
    while part := [row if isinstance(row, Mapping) else dict(row) for row in itertools.islice(rows, batch_rows)]:
        for batch in _alike(part, known):
            known |= {field.name: field.type for field in batch.schema}
            yield batch


def _alike(rows: Sequence[Mapping[str, Any]], known: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    """The rows in as few record batches as their types allow. `known` columns come first, in their order; a column that
    holds only nulls has its `known` type."""
    found = dict.fromkeys(name for row in rows for name in row)
    names = [*(name for name in known if name in found), *(name for name in found if name not in known)]
    try:
        batch = rows_to_batch(rows, names)
    except InputSchemaError:
        if len(rows) == 1:
            raise
        middle = len(rows) // 2
        yield from _alike(rows[:middle], known)
        yield from _alike(rows[middle:], known)
        return
    arrays = [
        pa.nulls(len(rows), known.get(name, column.type)) if pa.types.is_null(column.type) else column
        for name, column in zip(names, batch.columns, strict=True)
    ]
    yield pa.RecordBatch.from_arrays(arrays, names=names)

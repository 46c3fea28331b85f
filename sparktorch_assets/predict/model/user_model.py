"""Adapts model objects of users, with `predict(rows)` or `predict_batch(RecordBatch)`, to windows of columns."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from sparktorch_assets.arrow_types import arrow_type
from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.arrow_lists import scatter
from sparktorch_assets.predict.batches.failing_share import FailingShare
from sparktorch_assets.predict.failures import Quarantine, RowFailure, Rows
from sparktorch_assets.predict.outputs import make_decoder
from sparktorch_assets.predict.predictions import Predictions
from sparktorch_assets.predict.protocols import ModelObject
from sparktorch_assets.predict.rows.convert import own_memory, typed_batch
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.batch_policy import DEFAULT_BATCH_SIZE
from sparktorch_assets.tasks.ml_task import MlTask


class UserModel:
    """Adapts a user's model object to windows; a row for which it raises fails alone.

    `predict_batch(batch)` is preferred if the object has it: it returns a record batch (or table) with the output
    columns and the same number of rows. `predict(rows)` yields one dict per row, in order.
    """

    def __init__(self, task: MlTask, model: ModelObject, batch_size: int | None) -> None:
        self.task = task
        self._batch_size = batch_size
        self._failing = FailingShare()
        self.window_rows = self._next_window_rows()
        """Rows per batch: the given size, else DEFAULT_BATCH_SIZE, or fewer if rows keep failing."""
        self.columns: tuple[str, ...] | None = None  # a user's code may read any column
        self._model = model
        self._predict_batch: Any = getattr(model, "predict_batch", None)  # a BatchModelObject has it
        self._run = self._run_batch if callable(self._predict_batch) else self._run_rows
        if self._run == self._run_rows and not callable(getattr(model, "predict", None)):
            raise ModelError(
                f"task {task.name!r}: the model object ({type(model).__name__}) has neither predict(rows) nor "
                f"predict_batch(batch); return a torch.nn.Module or an object with one of them"
            )
        self._kinds = pa.schema(
            [
                (column.name, arrow_type(column.type))
                for column in task.output_columns
                if self._comes_from_model(column.name)
            ]
        )
        self._texts = [field.name for field in self._kinds if pa.types.is_string(field.type)]
        self._text_lists = [field.name for field in self._kinds if field.type == pa.list_(pa.string())]
        self._decoder = make_decoder(task)
        if task.output.tensor_options:
            raise ModelError(
                f"task {task.name!r}: its output sets {', '.join(task.output.tensor_options)}, which is applied to a "
                f"network's tensors, but its model ({type(model).__name__}) is an object that returns finished values; do "
                f"it in the object, and leave the option out"
            )
        self._shown = set(task.feature_columns)
        hidden = {spelling for name in self._kinds.names for spelling in self._spellings(name)}
        self._hidden = hidden - self._shown
        ambiguous = sorted(self._shown & set(self._kinds.names))
        if ambiguous:
            raise ModelError(
                f"task {task.name!r}: its features read {', '.join(map(repr, ambiguous))}, which its model object also "
                f"adds; set output_prefix (for instance {task.name + '_'!r})"
            )

    def _comes_from_model(self, name: str) -> bool:
        return name not in dict(self.task.typed_hook_columns)

    def _spellings(self, name: str) -> list[str]:
        """The names under which the model may return an output column: its name in the table, and that name without the
        task's prefix, unless a feature reads a column of that name."""
        plain = name.removeprefix(self.task.output_prefix)
        return [name] if plain == name or plain in self._shown else [name, plain]

    def _next_window_rows(self) -> int:
        return self._batch_size or min(DEFAULT_BATCH_SIZE, self._failing.best_size() or DEFAULT_BATCH_SIZE)

    @property
    def weight_bytes(self) -> int:
        """0, since the size of a user's object is unknown."""
        return 0

    def prepare(self, batch: pa.RecordBatch, _quarantine: Quarantine, _tally: Tally) -> pa.RecordBatch:
        """The rows, without columns that have the name of one that the model adds: another task's predictions would be
        taken for its own. A column that a feature reads stays."""
        return batch.drop_columns([name for name in batch.schema.names if name in self._hidden])

    in_flight = 0
    """Number of windows in flight: none, since a user's model works synchronously."""

    undecided = False
    """Always false, since there is no reference to compare a user's model with."""

    def end(self, _tally: Tally) -> None:
        """Do nothing: no state is kept for the next run."""

    def finish(self, predictions: Predictions, _tally: Tally) -> Predictions:
        """Return what `start` returned."""
        return predictions

    def start(
        self, batch: pa.RecordBatch, quarantine: Quarantine, tally: Tally, on_rows: Callable[[int], None]
    ) -> Predictions:
        """Predict the window's rows, in order."""
        started = time.perf_counter()
        pieces, failures = quarantine.run(
            "forward", np.arange(batch.num_rows), lambda rows: self._predict(_rows_of(batch, rows), tally, on_rows)
        )
        self._failing.count(len(failures), batch.num_rows)
        self.window_rows = self._next_window_rows()
        found = [(rows, columns) for rows, (columns, _) in pieces]
        for rows, (_, inner) in pieces:
            failures |= {int(rows[position]): failure for position, failure in inner.items()}
        columns = {
            field.name: scatter([(rows, part.column(field.name)) for rows, part in found], batch.num_rows, field.type)
            for field in self._kinds
        }
        errors = columns.pop(self.task.error_column)
        columns = {name.removeprefix(self.task.output_prefix): column for name, column in columns.items()}
        for row in np.flatnonzero(errors.is_valid().to_numpy(zero_copy_only=False)):
            failures.setdefault(int(row), RowFailure("forward", "ModelReported", str(errors[int(row)])))
        if batch.num_rows:
            failures = self._decoder.check_answers(columns) | failures
        tally.spend("forward", time.perf_counter() - started)
        return Predictions(rows=batch.num_rows, columns=columns, failures=failures)

    def _predict(
        self, batch: pa.RecordBatch, tally: Tally, on_rows: Callable[[int], None]
    ) -> tuple[pa.RecordBatch, dict[int, RowFailure]]:
        predicted = self._run(batch)
        tally.batch_sizes[str(batch.num_rows)] = tally.batch_sizes.get(str(batch.num_rows), 0) + 1
        on_rows(batch.num_rows)
        return predicted

    def _run_rows(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[int, RowFailure]]:
        rows = batch.to_pylist()
        wanted = [(name, self._spellings(name)) for name in self._kinds.names]
        # Values are taken at once: a generator may fill one dict again and again.
        answers = [_answer(row, wanted) for row in self._model.predict(rows)]
        self._check_count(len(answers), len(rows), "predict(rows)")
        for answer in answers:
            for name in self._texts:  # classes are often numbers to a model
                if answer[name] is not None:
                    answer[name] = str(answer[name])
            for name in self._text_lists:
                if isinstance(answer[name], list | tuple | np.ndarray):
                    answer[name] = [label if label is None else str(label) for label in answer[name]]
        return typed_batch(answers, self._kinds, "forward")

    def _run_batch(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[int, RowFailure]]:
        predicted = self._predict_batch(batch)
        self._check_count(predicted.num_rows, batch.num_rows, "predict_batch(batch)")
        if isinstance(predicted, pa.Table):
            predicted = predicted.combine_chunks()
        found, there = {}, set(predicted.schema.names)
        for field in self._kinds:
            name = next((spelling for spelling in self._spellings(field.name) if spelling in there), None)
            if name is not None:
                column = predicted.column(name)
                column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
                found[field.name] = own_memory(column.cast(field.type))
            else:
                found[field.name] = pa.nulls(batch.num_rows, field.type)
        return pa.RecordBatch.from_arrays(list(found.values()), names=list(found)), {}

    def _check_count(self, found: int, due: int, method: str) -> None:
        if found != due:
            raise ModelError(
                f"task {self.task.name!r}: {type(self._model).__name__}.{method} returned {found} rows for {due}; it "
                f"must return one per row, in order (drop rows in a postprocessor)"
            )


def _answer(row: Mapping[str, Any], wanted: Sequence[tuple[str, Sequence[str]]]) -> dict[str, Any]:
    """The values of the wanted columns, each under the first of its names that the row has; `None` if it has none."""
    found: dict[str, Any] = dict.fromkeys([name for name, _ in wanted])
    for name, spellings in wanted:
        for spelling in spellings:
            if spelling in row:
                found[name] = row[spelling]
                break
    return found


def _rows_of(batch: pa.RecordBatch, rows: Rows) -> pa.RecordBatch:
    """A slice of the batch, without a copy; `rows` are consecutive."""
    return batch.slice(int(rows[0]), len(rows))

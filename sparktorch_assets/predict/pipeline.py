"""The three stages from the rows of a partition to their predictions: encode, forward, decode.

Batches for the model are cut across incoming record batches (and across their keys), so that only the last one is
short. Results are yielded in the record batches that came in; kept columns are passed through without a copy.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa

from sparktorch_assets.errors import HookError
from sparktorch_assets.predict.batches.duplicates import distinct_rows
from sparktorch_assets.predict.batches.prefetch import prefetch
from sparktorch_assets.predict.batches.row_queue import RowQueue
from sparktorch_assets.predict.count import count_predictions
from sparktorch_assets.predict.failures import Quarantine, RowFailure, Rows
from sparktorch_assets.predict.local import LocalPredictor
from sparktorch_assets.predict.predictions import mark_failed, prediction_batch, without_dictionaries
from sparktorch_assets.predict.rows.convert import conform_rows, settle_types
from sparktorch_assets.predict.rows.filter import BatchFilter
from sparktorch_assets.predict.rows.hooks import HookedRows, apply_batch_hook, apply_row_hook
from sparktorch_assets.predict.windowed_model import PreparedT, StartedT, WindowedModel
from sparktorch_assets.tally import Tally

K = TypeVar("K")

_TRUNCATED = "__truncated__"
"""An internal column that is dropped before the output: whether a row's text or sequence was truncated."""

HELD_WINDOWS = 16
"""Maximum number of windows whose predictions are held back while the network is compared with fp32, so that a refused
run yields none."""

HOOK_NAMES = ("row_preprocessor", "batch_preprocessor", "row_postprocessor", "batch_postprocessor")


@dataclass(slots=True)
class _Chunk(Generic[K]):
    """The rows of one incoming record batch, which are yielded together."""

    key: K
    rows: pa.RecordBatch
    """The incoming rows, except those that were filtered or dropped, with the columns that a preprocessor added."""


@dataclass(slots=True)
class _Window(Generic[K, PreparedT]):
    """Rows that are encoded together."""

    key: K
    rows: int
    good: Rows
    """The rows that the model sees; the others have failed before."""
    place: Rows | None
    """The index in `prepared` of each of the `good` rows, if equal rows are predicted once; else `None`."""
    prepared: PreparedT
    failures: dict[int, RowFailure]


@dataclass(slots=True)
class _Answers:
    """The columns that the model adds to the rows of a window."""

    columns: pa.RecordBatch
    failures: dict[int, RowFailure]


class Pipeline(Generic[K, PreparedT, StartedT]):
    """One pass over keyed record batches: chunks are queued, windows are cut from them, and predictions added to
    them."""

    def __init__(
        self,
        predictor: LocalPredictor,
        model: WindowedModel[PreparedT, StartedT],
        schema: pa.Schema,
        tally_of: Callable[[K], Tally],
        on_rows: Callable[[int], None],
    ) -> None:
        self._task = predictor.task
        self._on_rows = on_rows
        self._window_left = 0
        """Number of rows of the model's current window that have not been reported to `on_rows`."""
        self._model = model
        self._filter = BatchFilter(self._task.where, f"task {self._task.name!r}")
        self._device = predictor.device
        self._overlaps = predictor.overlaps
        self._schema = schema
        self._conformed: pa.Schema | None = None
        """The schema of the rows that were made to fit the table's last, which those of the next mostly have."""
        self._unlike: list[int] = []
        """The positions of its columns that may need a conversion."""
        self._tally_of = tally_of
        self._quarantine = Quarantine(self._task.name)
        self._hooks = {name: self._task.hooks.load(name) for name in HOOK_NAMES}
        self._load_s = predictor.load_s
        self._inputs = RowQueue()
        self._input_types: dict[str, pa.DataType] = {}
        """The type that a preprocessor first gave to each column; the types of later rows must be compatible."""
        self._chunks: deque[_Chunk[K]] = deque()
        self._added = RowQueue()

    def run(self, batches: Iterable[tuple[K, pa.RecordBatch]]) -> Iterator[tuple[K, pa.RecordBatch]]:
        """Run three stages: read, preprocess and encode; forward; decode and postprocess. They run concurrently if the
        predictor's `overlaps` is set, else one after the other."""
        prepared: Iterable[_Chunk[K] | _Window[K, PreparedT]] = self._prepare(batches)
        inferred = self._infer(prefetch(prepared) if self._overlaps else prepared)
        finished: Iterable[_Chunk[K] | _Answers] = prefetch(inferred) if self._overlaps else inferred
        for item in finished:
            if isinstance(item, _Chunk):
                self._chunks.append(item)
            else:
                self._added.push(item.columns, item.failures)
            yield from self._finished()
        self._quarantine.finish()

    def _prepare(self, batches: Iterable[tuple[K, pa.RecordBatch]]) -> Iterator["_Chunk[K] | _Window[K, PreparedT]"]:
        """Yield each chunk, followed by the windows that its rows complete."""
        chunk: _Chunk[K] | None = None
        for key, batch in batches:
            chunk = self._take_in(key, batch)
            if chunk.rows.num_rows:
                yield chunk
            while self._inputs.rows >= (rows := self._model.window_rows):
                yield self._encode(rows, key)
        while chunk is not None and self._inputs.rows:
            yield self._encode(min(self._inputs.rows, self._model.window_rows), chunk.key)

    def _take_in(self, key: K, batch: pa.RecordBatch) -> "_Chunk[K]":
        tally = self._tally_of(key)
        if self._load_s:  # the time to bring the model up counts for the first key
            tally.spend("load", self._load_s)
            self._load_s = 0.0
        rows = self._filter.rows(batch)
        tally.filtered += batch.num_rows - rows.num_rows
        tally.rows += rows.num_rows
        inputs, failures = rows, {}
        if self._task.hooks.preprocesses:
            # The model may see other types than the table has, so none are required here.
            hooked = self._apply("preprocessor", rows, {}, pa.schema([]), tally)
            tally.dropped += rows.num_rows - hooked.batch.num_rows
            inputs, unfit = settle_types(hooked.batch, self._input_types, "preprocessor")
            self._input_types = {
                field.name: field.type for field in inputs.schema if not pa.types.is_null(field.type)
            } | self._input_types
            failures = unfit | hooked.failures
            if len(hooked.rows) < rows.num_rows:
                rows = rows.take(pa.array(hooked.rows))
            before = set(rows.schema.names)
            made = {
                name: column
                for name, column in zip(inputs.schema.names, inputs.columns, strict=True)
                if name not in before
            }
            rows = with_columns(rows, made)
        if self._model.columns is not None:
            there = set(inputs.schema.names)
            inputs = inputs.select([name for name in self._model.columns if name in there])
        if batch.num_rows > rows.num_rows:
            self._on_rows(batch.num_rows - rows.num_rows)
        self._inputs.push(inputs, failures)
        return _Chunk(key, rows)

    def _encode(self, rows: int, key: K) -> "_Window[K, PreparedT]":
        """Encode the next `rows` rows, without those that have failed already."""
        inputs, failures = self._inputs.pop(rows)
        good = np.arange(rows)
        if failures:
            good = np.setdiff1d(good, np.fromiter(failures, dtype=np.int64, count=len(failures)))
            inputs = inputs.take(pa.array(good))
        place: Rows | None = None
        if self._task.batch.deduplicate:
            first, place = distinct_rows(inputs)
            inputs = inputs.take(pa.array(first))
        prepared = self._model.prepare(inputs, self._quarantine, self._tally_of(key))
        return _Window(key, rows, good, place, prepared, failures)

    def _infer(self, items: Iterable["_Chunk[K] | _Window[K, PreparedT]"]) -> Iterator["_Chunk[K] | _Answers"]:
        """Yield chunks as they come, and each window's answers; if the model works asynchronously, after the next
        window has been launched."""
        pending: deque[tuple[_Window[K, PreparedT], StartedT]] = deque()
        last: _Window[K, PreparedT] | None = None
        for item in items:
            if isinstance(item, _Chunk):
                yield item
                continue
            last, self._window_left = item, item.rows
            tally = self._tally_of(item.key)
            pending.append((item, self._model.start(item.prepared, self._quarantine, tally, self._batch_done)))
            self._batch_done(self._window_left)  # rows that failed, and duplicates of other rows
            while len(pending) > (HELD_WINDOWS if self._model.undecided else self._model.in_flight):
                yield self._answer(*pending.popleft())
        if last is not None:
            self._model.end(self._tally_of(last.key))
        while pending:
            yield self._answer(*pending.popleft())

    def _batch_done(self, rows: int) -> None:
        rows = min(rows, self._window_left)  # the search for a failing row predicts some rows twice
        self._window_left -= rows
        self._on_rows(rows)

    def _answer(self, window: "_Window[K, PreparedT]", started: StartedT) -> "_Answers":
        predictions = self._model.finish(started, self._tally_of(window.key))
        columns, found = prediction_batch(self._task, predictions), predictions.failures
        if predictions.truncated_N is not None:
            columns = columns.append_column(_TRUNCATED, pa.array(predictions.truncated_N))
        if window.place is not None:
            columns = columns.take(pa.array(window.place))
            found = {row: found[first] for row, first in enumerate(window.place.tolist()) if first in found}
        if window.failures:
            place = np.full(window.rows, -1, dtype=np.int64)
            place[window.good] = np.arange(len(window.good))
            columns = mark_failed(columns.take(pa.array(place, mask=place < 0)), self._task, window.failures)
        new_failures = {int(window.good[row]): failure for row, failure in found.items()}
        return _Answers(columns, window.failures | new_failures)

    def _finished(self) -> Iterator[tuple[K, pa.RecordBatch]]:
        while self._chunks and self._chunks[0].rows.num_rows <= self._added.rows:
            chunk = self._chunks.popleft()
            tally = self._tally_of(chunk.key)
            added, failures = self._added.pop(chunk.rows.num_rows)
            if _TRUNCATED in added.schema.names:
                truncated_N = added.column(_TRUNCATED).fill_null(fill_value=False).to_numpy(zero_copy_only=False)
                tally.truncated += int(truncated_N.sum()) - sum(bool(truncated_N[row]) for row in failures)
                added = added.drop_columns([_TRUNCATED])
            truth = self._truth(chunk.rows)
            result = with_columns(chunk.rows, dict(zip(added.schema.names, added.columns, strict=True)))
            if self._task.hooks.postprocesses:
                result = without_dictionaries(result)
                hooked = self._apply("postprocessor", result, failures, self._schema, tally)
                tally.dropped += result.num_rows - hooked.batch.num_rows
                self._check_columns(hooked.batch)
                truth = None if truth is None else truth.take(pa.array(hooked.rows))
                new_failures = {
                    row: failure for row, failure in hooked.failures.items() if hooked.rows[row] not in failures
                }
                result, failures = mark_failed(hooked.batch, self._task, new_failures), hooked.failures
            final, misfits = self._conform(result)
            if misfits:
                new_failures = {row: failure for row, failure in misfits.items() if row not in failures}
                final, failures = mark_failed(final, self._task, new_failures), new_failures | failures
                result = final
            if final.num_rows:
                count_predictions(result, failures, self._task, self._device, tally, truth)
                yield chunk.key, final

    def _truth(self, rows: pa.RecordBatch) -> pa.Array | None:
        """The column of true values, as it was before the postprocessors."""
        if self._task.truth is None:
            return None
        if self._task.truth not in rows.schema.names:
            raise HookError(
                f"task {self._task.name!r}: neither the input nor the preprocessor gives the column truth="
                f"{self._task.truth!r}; correct its name, or leave truth out"
            )
        return rows.column(self._task.truth)

    def _conform(self, rows: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[int, RowFailure]]:
        """The table's columns, in their types; a value that does not fit its column's type makes its row fail."""
        if rows.schema.names != self._schema.names:
            found = dict(zip(rows.schema.names, rows.columns, strict=True))
            missing = {
                field.name: pa.nulls(rows.num_rows, field.type) for field in self._schema if field.name not in found
            }
            found |= missing
            arrays = [found[name] for name in self._schema.names]
            rows = pa.RecordBatch.from_arrays(arrays, names=self._schema.names)
        if self._conformed is None or not rows.schema.equals(self._conformed):
            pairs = zip(rows.schema, self._schema, strict=True)
            # Of nested values, a part may be null that must not be.
            self._unlike = [
                at for at, (has, field) in enumerate(pairs) if has != field or pa.types.is_nested(field.type)
            ]
            self._conformed = rows.schema
        columns = rows.columns
        failures: dict[int, RowFailure] = {}
        for at in self._unlike:
            field = self._schema.field(at)
            columns[at], misfits = conform_rows(columns[at], field.type, field.name, "hooks")
            failures = misfits | failures
        return pa.RecordBatch.from_arrays(columns, schema=self._schema), failures

    def _apply(
        self, kind: str, batch: pa.RecordBatch, failures: dict[int, RowFailure], types: pa.Schema, tally: Tally
    ) -> HookedRows:
        """Apply the row hook and then the batch hook of a kind (`preprocessor` or `postprocessor`)."""
        started = time.perf_counter()
        hooked = HookedRows(batch, np.arange(batch.num_rows), failures)
        row_hook, batch_hook = self._hooks[f"row_{kind}"], self._hooks[f"batch_{kind}"]
        if row_hook is not None:
            hooked = apply_row_hook(row_hook, batch, f"row_{kind}", failures, types)
        if batch_hook is not None and hooked.batch.num_rows:
            after = apply_batch_hook(
                batch_hook, hooked.batch, f"batch_{kind}", hooked.failures, types, self._quarantine
            )
            hooked = HookedRows(after.batch, hooked.rows[after.rows], after.failures)
        tally.spend(kind, time.perf_counter() - started)
        return hooked

    def _check_columns(self, batch: pa.RecordBatch) -> None:
        extra = dict(self._task.typed_hook_columns)
        there = set(batch.schema.names)
        missing = [name for name in self._schema.names if name not in there and name not in extra]
        if missing and batch.num_rows:
            raise HookError(
                f"task {self._task.name!r}: the postprocessor left out {', '.join(map(repr, missing))}, which the "
                f"table holds; return the whole row, or narrow the task's keep_columns"
            )


def with_columns(batch: pa.RecordBatch, columns: Mapping[str, pa.Array]) -> pa.RecordBatch:
    """`batch` with columns appended; they replace columns of the same name."""
    if columns.keys().isdisjoint(batch.schema.names):
        for name, column in columns.items():
            batch = batch.append_column(name, column)
        return batch
    kept = {name: column for name, column in zip(batch.schema.names, batch.columns, strict=True) if name not in columns}
    found = {**kept, **columns}
    return pa.RecordBatch.from_arrays(list(found.values()), names=list(found))

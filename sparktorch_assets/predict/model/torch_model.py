"""The built-in model object: encoders, a network and labels, with methods for columns and for rows.

Shapes: N rows of a window, B rows of a batch, C classes, E embedding width.
"""

import copy
import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from sparktorch_assets.errors import SparktorchError
from sparktorch_assets.predict.batches.out_of_memory import SharedLimits, is_out_of_memory
from sparktorch_assets.predict.batches.packing import batches_of
from sparktorch_assets.predict.batches.sizer import BatchSizer
from sparktorch_assets.predict.encode.encoded import EncodedFeature, consecutive
from sparktorch_assets.predict.encode.encoders import make_encoder
from sparktorch_assets.predict.failures import Quarantine, RowFailure, Rows, is_about_the_row
from sparktorch_assets.predict.model.network import Network
from sparktorch_assets.predict.model.predictions import (
    Predictions,
    float_lists,
    prediction_batch,
    scatter,
    without_dictionaries,
)
from sparktorch_assets.predict.model.transfer import PendingOutputs
from sparktorch_assets.predict.model.watchdog import ends_worker_after
from sparktorch_assets.predict.rows.convert import rows_to_batch
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.batch_policy import BatchPolicy
from sparktorch_assets.tasks.features import has_lengths
from sparktorch_assets.tasks.ml_task import MlTask

NOT_FINITE = RowFailure("forward", "NotFinite", "the model gave NaN or infinite logits")


@dataclass(kw_only=True, slots=True)
class Encoded:
    """A window of N rows, ready for the network."""

    window_rows: int
    rows: Rows
    """For each position in the features, its row in the window: all rows except those on which an encoder raised."""
    features: list[EncodedFeature]
    failures: dict[int, RowFailure]
    """The failures so far, by row of the window."""
    truncated: npt.NDArray[np.bool_]
    """Whether each row of the window was truncated, so that the model sees only its beginning."""

    @property
    def row_bytes(self) -> int | None:
        """Average number of bytes of a row's tensors; `None` if no row was encoded."""
        return sum(feature.nbytes for feature in self.features) // len(self.rows) if len(self.rows) else None


Launched = tuple[Rows, PendingOutputs]
"""Positions in the encoded features, and their pending results."""


@dataclass(kw_only=True, slots=True)
class Started:
    """A window whose batches have been launched; on a GPU, some may still be running."""

    encoded: Encoded
    launched: list[Launched]
    failures: dict[int, RowFailure]
    """The failures so far, by row of the window."""


Outputs = tuple[Rows, dict[str, npt.NDArray[Any]]]
"""Rows of the window, and their results under the names that `Network.run` gives them."""


class TorchModel:
    """A `torch.nn.Module` as a model object.

    `forward` gets the feature groups' tensors as positional arguments and returns logits (B, C), or
    `(logits, embedding)`, or an object with `.logits` (and `.embedding`). With two labels, logits of shape (B,) or
    (B, 1) are taken as those of the second label, as for a sigmoid.
    """

    def __init__(
        self,
        task: MlTask,
        module: torch.nn.Module,
        *,
        models_root: Path,
        device: torch.device,
        batch_size: int | None = None,
        shared_limits: SharedLimits | None = None,
    ) -> None:
        self.task = task
        self.network = Network(task, module, device)
        self.columns = task.feature_columns
        self.has_lengths = any(has_lengths(feature) for feature in task.features)
        self._encoders = [make_encoder(feature, models_root) for feature in task.features]
        self._labels = pa.array(task.labels, pa.string())
        self._shared_limits = shared_limits
        self._numbers = itertools.count(1)
        self._learnt: dict[tuple[BatchPolicy, int | None], BatchSizer] = {}
        """The sizers of earlier runs, by batch policy and batch size."""
        self._begin(batch_size, {})

    def for_run(self, task: MlTask, batch_size: int | None, ceilings: Mapping[int, int]) -> "TorchModel":
        """This model for one run over rows: with the same encoders and network, and with state that no other run sees.

        Args:
            task: the run's task; it has the same model digest as the task for which the model was brought up, and may
                differ in names, columns and batch policy.
            batch_size: rows per batch; `None` uses the task's policy or, if that sets no size, the size found to be
                fastest. The run starts with the size that earlier runs with the same policy found.
            ceilings: batch sizes that are known to fit, used if this host has not recorded any.
        """
        run = copy.copy(self)
        run.task, run.network = task, self.network.for_run(task)
        run._begin(batch_size, ceilings)  # noqa: SLF001  (a copy of its own class)
        return run

    def _begin(self, batch_size: int | None, ceilings: Mapping[int, int]) -> None:
        self._under_way: deque[PendingOutputs] = deque()
        self._batch_size = batch_size
        self._told: dict[int, int] | None = self._shared_limits.read() if self._shared_limits else None
        learnt = self._learnt.get((self.task.batch, batch_size))
        self.sizer = copy.deepcopy(learnt) or self._new_sizer(ceilings if self._told is None else self._told)
        self.window_rows = self.sizer.window_rows
        """Number of rows to encode at once: a whole number of batches; with lengths, enough rows to batch those of
        similar length together. Another thread may read it while the thread that predicts updates it."""

    def _new_sizer(self, ceilings: Mapping[int, int]) -> BatchSizer:
        sizer = BatchSizer(
            self.task.batch, has_lengths=self.has_lengths, rows=self._batch_size, max_rows_by_length=ceilings
        )
        row_bytes = [encoder.row_bytes for encoder in self._encoders]
        if None not in row_bytes:
            sizer.set_row_bytes(sum(filter(None, row_bytes)))
        return sizer

    @property
    def module(self) -> torch.nn.Module:
        """The network itself."""
        return self.network.module

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return self.network.transfer.device

    @property
    def weight_bytes(self) -> int:
        """Bytes of the network's parameters and buffers."""
        return self.network.weight_bytes

    def predict(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield each row with `predicted_class`, `confidence` and the task's other output columns added, in order.

        Rows that fail get `prediction_error` and a null class; nothing is raised for them.
        """
        pending = iter(rows)
        while part := list(itertools.islice(pending, self.window_rows)):  # may change from window to window
            added = self._predict_once(rows_to_batch(part, self.columns)).to_pylist()
            for row, columns in zip(part, added, strict=True):
                yield {**row, **columns}

    def predict_batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """`batch` with the task's output columns added; rows that fail get `prediction_error` and a null class."""
        added = self._predict_once(batch)
        return pa.RecordBatch.from_arrays(
            [*batch.columns, *added.columns], names=[*batch.schema.names, *added.schema.names]
        )

    def _predict_once(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        quarantine, tally = Quarantine(self.task.name), Tally()
        encoded = self.prepare(batch, quarantine, tally)
        predictions = self.finish(self.start(encoded, quarantine, tally, lambda _rows: None), tally)
        self.network.decide()
        return without_dictionaries(prediction_batch(self.task, predictions))

    def prepare(self, batch: pa.RecordBatch, quarantine: Quarantine, tally: Tally) -> Encoded:
        """Encode the N rows of a window; uses neither the network nor the device."""
        started = time.perf_counter()
        rows = np.arange(batch.num_rows)
        failures: dict[int, RowFailure] = {}
        features: list[EncodedFeature] = []
        try:
            if batch.num_rows:
                features = [encoder.encode(batch) for encoder in self._encoders]
        except SparktorchError:
            raise
        except BaseException as error:  # an encoder raised on some row: find it, and keep the others
            if not is_about_the_row(error):
                raise
            pieces, failures = quarantine.run(
                "encode", rows, lambda part: [encoder.encode(batch.take(pa.array(part))) for encoder in self._encoders]
            )
            rows, features, odd = _joined(pieces)
            failures |= odd
        truncated = np.zeros(batch.num_rows, dtype=bool)
        for feature in features:
            failures |= {int(rows[position]): failure for position, failure in feature.failures.items()}
            if feature.truncated_N is not None:
                truncated[rows[feature.truncated_N]] = True
        tally.spend("encode", time.perf_counter() - started)
        return Encoded(window_rows=batch.num_rows, rows=rows, features=features, failures=failures, truncated=truncated)

    @property
    def in_flight(self) -> int:
        """Number of batches, and of windows, in flight while the next one is launched: a GPU is never idle."""
        return 1 if self.network.transfer.asynchronous else 0

    def start(self, encoded: Encoded, quarantine: Quarantine, tally: Tally, on_rows: Callable[[int], None]) -> Started:
        """Launch the batches of an encoded window; adds seconds, splits and batch sizes to `tally`."""
        began = time.perf_counter()
        if encoded.row_bytes is not None:  # for sequences and users' encoders, the size of a row is known only now
            self.sizer.set_row_bytes(encoded.row_bytes)
        failures = dict(encoded.failures)
        positions = np.arange(len(encoded.rows))
        if failures:
            positions = positions[~np.isin(encoded.rows, np.fromiter(failures, dtype=np.int64))]
        lengths = [feature.lengths_N for feature in encoded.features if feature.lengths_N is not None]
        lengths_N = np.sum(lengths, axis=0) if lengths else None
        launched: list[Launched] = []
        for part in batches_of(positions, lengths_N, self.sizer):
            pieces, failed = quarantine.run(
                "forward", part, lambda chosen: self._forward(encoded.features, chosen, lengths_N, tally, on_rows)
            )
            self.sizer.failed(len(failed), _padded(part, _longest(part, lengths_N)))
            failures |= {int(encoded.rows[position]): failure for position, failure in failed.items()}
            now = [one for _, several in pieces for one in several]
            launched += now
            self._under_way += [on_the_way for _, on_the_way in now]
            while len(self._under_way) > self.in_flight:
                self._under_way.popleft().fetch()
        tally.spend("forward", time.perf_counter() - began)
        if self.sizer.max_rows_by_length or tally.ceilings:
            tally.fits_now(self.device.type, self.sizer.max_rows_by_length)
        self.window_rows = self.sizer.window_rows
        self._tell_agreement(tally)
        return Started(encoded=encoded, launched=launched, failures=failures)

    @property
    def undecided(self) -> bool:
        """Whether the comparison with fp32 may still refuse all predictions of the run."""
        return self.network.undecided

    def end(self, tally: Tally) -> None:
        """Declare that the run's last window has been started, and keep the sizes that it found for the next run.

        Raises:
            ModelError: in a run with few rows, the network's agreement with fp32 is below `min_agreement`.
        """
        self._learnt[self.task.batch, self._batch_size] = self.sizer
        if self._shared_limits and self.sizer.max_rows_by_length != (self._told or {}):
            self._shared_limits.write(self.sizer.max_rows_by_length)
        self.network.decide()
        self._tell_agreement(tally, now=True)

    def _tell_agreement(self, tally: Tally, *, now: bool = False) -> None:
        comparison = self.network.comparison
        if comparison is not None and comparison.rows and (now or not comparison.open):
            tally.compared(comparison.share, comparison.confidence_difference)

    def finish(self, started: Started, tally: Tally) -> Predictions:
        """Wait for the predictions of a window, and return them in its order."""
        began = time.perf_counter()
        outputs = [_fetch(one, started.encoded.rows) for one in started.launched]
        fetched = time.perf_counter()
        predictions = self._decode(started.encoded.window_rows, outputs, started.failures)
        predictions.truncated_N = started.encoded.truncated if self.has_lengths else None
        tally.spend("forward", fetched - began)
        tally.spend("decode", time.perf_counter() - fetched)
        return predictions

    def _forward(
        self,
        features: list[EncodedFeature],
        positions: Rows,
        lengths_N: npt.NDArray[np.int64] | None,
        tally: Tally,
        on_rows: Callable[[int], None],
    ) -> list[Launched]:
        """Start predicting rows; if they do not fit into memory, halves of them, down to single rows."""
        launched: list[Launched] = []
        stack = [positions]
        while stack:
            part = stack.pop()
            longest = _longest(part, lengths_N)
            out_of_memory: str | None = None
            started = time.perf_counter()
            what = f"task {self.task.name!r}, batch {next(self._numbers)} of this worker, {len(part)} rows"
            try:
                with ends_worker_after(self.task.batch.batch_timeout_s, what):
                    on_the_way = self.network.run(features, part, longest)
                    if self.sizer.searching or self.task.batch.batch_timeout_s is not None:
                        self.network.transfer.wait()
            except Exception as error:
                # A single row that does not fit is a failed row. The retry must not happen in this block, where the
                # traceback still holds the tensors that filled the memory.
                if not is_out_of_memory(error) or len(part) == 1:
                    raise
                out_of_memory = type(error).__name__
            if out_of_memory is not None:
                self.network.transfer.free()
                self.sizer.out_of_memory(len(part), longest)
                tally.splits += 1
                if self._shared_limits is not None:
                    self._told = self.sizer.max_rows_by_length
                    self._shared_limits.write(self._told)
                middle = len(part) // 2
                stack += [part[middle:], part[:middle]]
                continue
            self.sizer.measured(_padded(part, longest), time.perf_counter() - started)
            self.sizer.fitted(len(part), longest)
            tally.batch_sizes[str(len(part))] = tally.batch_sizes.get(str(len(part)), 0) + 1
            launched.append((part, on_the_way))
            on_rows(len(part))
        return launched

    def _decode(self, window_rows: int, outputs: list[Outputs], failures: dict[int, RowFailure]) -> Predictions:
        index_N = np.zeros(window_rows, dtype=np.int32)
        confidence_N = np.full(window_rows, np.nan, dtype=np.float32)
        for rows, output in outputs:
            place = consecutive(rows) or rows  # assigning to a slice is ten times as fast as to an index array
            index_N[place] = output["classes"]
            confidence_N[place] = output["confidence"]
        not_finite = np.isnan(confidence_N)
        if not_finite.any():
            for row in np.flatnonzero(not_finite):
                failures.setdefault(int(row), NOT_FINITE)
        columns = {}
        for extra in self.task.model_outputs:
            columns[f"{self.task.output_prefix}{extra}"] = scatter(
                [(rows, float_lists(output[extra])) for rows, output in outputs], window_rows, pa.list_(pa.float32())
            )
        return Predictions(
            classes_N=pa.DictionaryArray.from_arrays(pa.array(index_N, pa.int32()), self._labels),
            confidence_N=confidence_N,
            columns=columns,
            failures=failures,
        )


def _joined(
    pieces: list[tuple[Rows, list[EncodedFeature]]],
) -> tuple[Rows, list[EncodedFeature], dict[int, RowFailure]]:
    """Join pieces of a window that were encoded one by one; rows with another shape than most rows fail."""
    sizes: Counter[tuple[object, ...]] = Counter()
    for part, features in pieces:
        sizes[tuple(feature.shape for feature in features)] += len(part)
    if not sizes:
        return np.arange(0), [], {}
    shape = sizes.most_common(1)[0][0]
    alike = [(part, features) for part, features in pieces if tuple(item.shape for item in features) == shape]
    odd = RowFailure(
        "encode", "OddShape", "the encoder made tensors of another shape for this row than for most others"
    )
    failures = {
        int(row): odd
        for part, features in pieces
        if tuple(feature.shape for feature in features) != shape
        for row in part
    }
    first, *others = [features for _, features in alike]
    joined = [feature.joined([several[place] for several in others]) for place, feature in enumerate(first)]
    return np.concatenate([part for part, _ in alike]), joined, failures


def _fetch(launched: Launched, rows: Rows) -> Outputs:
    positions, on_the_way = launched
    return rows[consecutive(positions) or positions], on_the_way.fetch()


def _longest(positions: Rows, lengths_N: npt.NDArray[np.int64] | None) -> int:
    """Number of tokens of the longest of the rows; 0 if rows have no lengths."""
    return 0 if lengths_N is None else int(lengths_N[positions].max(initial=0))


def _padded(positions: Rows, longest: int) -> int:
    """Number of tokens of the rows as one batch, including padding; the number of rows if they have no lengths."""
    return len(positions) * max(1, longest)

"""The built-in model object: encoders and a network, with methods for columns and for rows.

Shapes: N rows of a window, B rows of a batch, C classes.
"""

import copy
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from sparktorch_assets.predict.arrow_lists import slices_or
from sparktorch_assets.predict.batches.shared_limits import SharedLimits
from sparktorch_assets.predict.batches.sizer import TOKEN_BYTES, BatchSizer
from sparktorch_assets.predict.encode.encoders import make_encoder
from sparktorch_assets.predict.encode.text import TextEncoder
from sparktorch_assets.predict.encode.window import EncodedWindow, encode_window
from sparktorch_assets.predict.failures import Quarantine, RowFailure
from sparktorch_assets.predict.model.forward import BatchLauncher, PendingBatch
from sparktorch_assets.predict.model.network import Network
from sparktorch_assets.predict.outputs.decoder import Outputs
from sparktorch_assets.predict.predictions import Predictions, prediction_batch, without_dictionaries
from sparktorch_assets.predict.rows.convert import rows_to_batch
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.batch_policy import BatchPolicy
from sparktorch_assets.tasks.ml_task import MlTask


@dataclass(kw_only=True, slots=True)
class PendingWindow:
    """A window whose batches have been launched; on a GPU, some may still be running."""

    encoded: EncodedWindow
    launched: list[PendingBatch]
    failures: dict[int, RowFailure]
    """The failures so far, by row of the window."""


class TorchModel:
    """A `torch.nn.Module` as a model object, and as a `WindowedModel`.

    `forward` gets the feature groups' tensors, each by the name that its group gives it, else by position. What it returns, the decoder of the task's output
    turns into columns: see `predict/outputs`. For a classification, that is logits (B, C), or `(logits, embedding)`, or
    an object with `.logits` (and `.embedding`). With two labels, logits of shape (B,) or (B, 1) are taken as those of the
    second label, as for a sigmoid.
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
        self.columns = task.feature_columns
        self.has_lengths = any(feature.has_lengths for feature in task.features)
        self._encoders = [
            make_encoder(
                feature,
                models_root,
                origins=feature.kind == task.output.refers_to,
                on_device=device.type != "cpu",
            )
            for feature in task.features
        ]
        to_texts = next((encoder.decode for encoder in self._encoders if isinstance(encoder, TextEncoder)), None)
        self.network = Network(task, module, device, to_texts)
        self._shared_limits = shared_limits
        self._numbers = itertools.count(1)
        self._learnt: dict[tuple[BatchPolicy, int | None], BatchSizer] = {}
        """The sizers of earlier runs, by batch policy and batch size."""
        self._begin(batch_size)

    def for_run(self, task: MlTask, batch_size: int | None) -> "TorchModel":
        """This model for one run over rows: with the same encoders and network, and with state that no other run sees.

        Args:
            task: the run's task; it has the same model digest as the task for which the model was brought up, and may
                differ in names, columns and batch policy.
            batch_size: rows per batch; `None` uses the task's policy or, if that sets no size, the size found to be
                fastest. The run starts with the size that earlier runs with the same policy found.
        """
        run = copy.copy(self)
        run.task, run.network = task, self.network.for_run(task)
        run._begin(batch_size)  # noqa: SLF001  (a copy of its own class)
        return run

    def _begin(self, batch_size: int | None) -> None:
        self._learnt_by = self.task.batch, batch_size
        known = self._shared_limits.read() if self._shared_limits else {}
        sizer = copy.deepcopy(self._learnt.get(self._learnt_by)) or self._new_sizer(batch_size, known)
        self.launcher = BatchLauncher(self.task, self.network, sizer, self._shared_limits, self._numbers)
        self.window_rows = sizer.window_rows
        """Number of rows to encode at once. Another thread may read it while the thread that predicts updates it."""

    def _new_sizer(self, batch_size: int | None, max_rows_by_length: Mapping[int, int]) -> BatchSizer:
        sizer = BatchSizer(
            self.task.batch,
            has_lengths=self.has_lengths,
            rows=batch_size,
            max_rows_by_length=max_rows_by_length,
            passes=1 + self.network.new_tokens,
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

    @property
    def in_flight(self) -> int:
        """Number of windows in flight while the next one is launched, as of batches: see `BatchLauncher`."""
        return self.launcher.in_flight

    @property
    def undecided(self) -> bool:
        """Whether the comparison with fp32 may still refuse all predictions of the run."""
        return self.network.undecided

    @torch.inference_mode(mode=False)  # whatever the caller's mode is: only ordinary tensors show `InputGuard` changes
    @torch.no_grad()  # which the mode above turns off: a user's encoder may have weights, and their graph would stay
    def prepare(self, batch: pa.RecordBatch, quarantine: Quarantine, tally: Tally) -> EncodedWindow:
        """Encode the N rows of a window; uses neither the network nor the device."""
        started = time.perf_counter()
        encoded = encode_window(batch, self._encoders, quarantine)
        tally.spend("encode", time.perf_counter() - started)
        return encoded

    def start(
        self, encoded: EncodedWindow, quarantine: Quarantine, tally: Tally, on_rows: Callable[[int], None]
    ) -> PendingWindow:
        """Launch the batches of an encoded window; adds seconds, splits and batch sizes to `tally`."""
        began = time.perf_counter()
        if encoded.row_bytes is not None:  # for sequences and users' encoders, the size of a row is known only now
            self.launcher.sizer.set_row_bytes(encoded.row_bytes + TOKEN_BYTES * self.network.new_tokens)
        failures = dict(encoded.failures)
        positions = np.arange(len(encoded.rows))
        if failures:
            positions = positions[~np.isin(encoded.rows, np.fromiter(failures, dtype=np.int64))]
        launched, failed = self.launcher.launch(encoded.features, positions, quarantine, tally, on_rows)
        failures |= {int(encoded.rows[position]): failure for position, failure in failed.items()}
        tally.spend("forward", time.perf_counter() - began)
        self.window_rows = self.launcher.sizer.window_rows
        self._record_agreement(tally)
        return PendingWindow(encoded=encoded, launched=launched, failures=failures)

    def finish(self, started: PendingWindow, tally: Tally) -> Predictions:
        """Wait for the predictions of a window, and return them in its order."""
        began = time.perf_counter()
        outputs = [_fetch(one, started.encoded) for one in started.launched]
        fetched = time.perf_counter()
        predictions = self._decode(started.encoded, outputs, started.failures)
        tally.spend("forward", fetched - began)
        tally.spend("decode", time.perf_counter() - fetched)
        return predictions

    def end(self, tally: Tally) -> None:
        """Declare that the run's last window has been started, and keep the sizes that it found for the next run.

        Raises:
            ModelError: in a run with few rows, the network's agreement with fp32 is below `min_agreement`.
        """
        self._learnt[self._learnt_by] = self.launcher.sizer
        self.launcher.end()
        self.network.decide()
        self._record_agreement(tally, now=True)

    def _record_agreement(self, tally: Tally, *, now: bool = False) -> None:
        comparison = self.network.comparison
        if comparison is not None and comparison.rows and (now or not comparison.open):
            tally.compared(comparison.share, comparison.difference)

    def _decode(
        self, encoded: EncodedWindow, outputs: Sequence[Outputs], failures: dict[int, RowFailure]
    ) -> Predictions:
        decoded = self.network.decoder.columns(outputs, encoded.window_rows)
        return Predictions(
            rows=encoded.window_rows,
            columns=decoded.columns,
            failures=decoded.failures | failures,
            truncated_N=encoded.truncated_N if self.has_lengths else None,
        )


def _fetch(launched: PendingBatch, encoded: EncodedWindow) -> Outputs:
    found: dict[str, npt.NDArray[Any]] = launched.outputs.fetch()
    for feature in encoded.features:
        if feature.origins is not None:
            found["origins"] = feature.origins[launched.positions]
    return encoded.rows[slices_or(launched.positions)], found

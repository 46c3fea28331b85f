"""The built-in model object: encoders, a network, and labels, in columns and in rows.

Shapes: N rows of a window, B rows of a batch, C classes, E embedding width.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from sparktorch_assets.errors import ModelError, SparktorchError
from sparktorch_assets.predict.encode import make_encoder
from sparktorch_assets.predict.encoded import EncodedFeature
from sparktorch_assets.predict.failures import Quarantine, RowFailure, Rows
from sparktorch_assets.predict.packing import pack
from sparktorch_assets.predict.predictions import Predictions, float_lists, prediction_batch, scatter
from sparktorch_assets.predict.rows import rows_to_batch
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.ml_task import MlTask

MAX_TOKENS = 32_768
"""Padded tokens a batch, where a task with texts does not say its batch size."""


NOT_FINITE = RowFailure("forward", "NotFinite", "the model gave NaN or infinite logits")


@dataclass(kw_only=True, slots=True)
class Encoded:
    """A window of N rows, ready for the network."""

    window_rows: int
    rows: Rows
    """For each position in the features, its row in the window: all rows, less those that broke an encoder."""
    features: list[EncodedFeature]
    failures: dict[int, RowFailure]
    """By row of the window."""


@dataclass(kw_only=True, slots=True)
class Outputs:
    """What the network gave for the B rows of one batch, on the host."""

    class_index_B: npt.NDArray[np.int64]
    confidence_B: npt.NDArray[np.float32]
    scores_BC: npt.NDArray[np.float32] | None
    embedding_BE: npt.NDArray[np.float32] | None


class TorchModel:
    """A `torch.nn.Module` as a model object.

    `forward` gets the feature groups' tensors as positional arguments and returns logits (B, C), or
    `(logits, embedding)`, or an object with `.logits` (and `.embedding`). With two labels, logits of shape (B,) or
    (B, 1) are taken as the second label's, through a sigmoid.
    """

    def __init__(
        self, task: MlTask, module: torch.nn.Module, *, models_root: Path, device: torch.device, batch_size: int
    ) -> None:
        self.task = task
        self.module = module
        self.device = device
        self.batch_size = batch_size
        self.columns = task.feature_columns
        self._encoders = [make_encoder(feature, models_root) for feature in task.features]
        self._labels = pa.array(task.labels, pa.string())
        self._max_tokens = None if task.batch.batch_size else MAX_TOKENS

    @property
    def weight_bytes(self) -> int:
        """Memory that the parameters and buffers take."""
        tensors = (*self.module.parameters(), *self.module.buffers())
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    @property
    def has_lengths(self) -> bool:
        """Whether rows differ in length, so that ordering a window of them saves padding."""
        return any(feature.kind == "text" for feature in self.task.features)

    def predict(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Each row with `predicted_class`, `confidence` and the task's other output columns added, in order.

        Rows that fail get `prediction_error` and a null class; nothing is raised for them.
        """
        pending = list(rows)
        for start in range(0, len(pending), self.batch_size):
            part = pending[start : start + self.batch_size]
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
        predictions = self.infer(self.prepare(batch, quarantine, tally), quarantine, tally)
        return prediction_batch(self.task, predictions)

    def prepare(self, batch: pa.RecordBatch, quarantine: Quarantine, tally: Tally) -> Encoded:
        """Encode the N rows of a window; touches neither the network nor the device."""
        started = time.perf_counter()
        rows = np.arange(batch.num_rows)
        failures: dict[int, RowFailure] = {}
        try:
            features = [encoder.encode(batch) for encoder in self._encoders]
        except SparktorchError:
            raise
        except Exception:  # noqa: BLE001  (some row breaks an encoder: find it, then encode the others)
            pieces, failures = quarantine.run(
                "encode", rows, lambda part: [encoder.encode(batch.take(pa.array(part))) for encoder in self._encoders]
            )
            rows = np.concatenate([part for part, _ in pieces]) if pieces else rows[:0]
            good = batch.take(pa.array(rows))
            features = [encoder.encode(good) for encoder in self._encoders]
        for feature in features:
            failures |= {int(rows[position]): failure for position, failure in feature.failures.items()}
        tally.spend("encode", time.perf_counter() - started)
        return Encoded(window_rows=batch.num_rows, rows=rows, features=features, failures=failures)

    def infer(self, encoded: Encoded, quarantine: Quarantine, tally: Tally) -> Predictions:
        """Predictions of an encoded window, in its order; adds seconds, devices and batch sizes to `tally`."""
        started = time.perf_counter()
        failures = dict(encoded.failures)
        positions = np.arange(len(encoded.rows))
        if failures:
            positions = positions[~np.isin(encoded.rows, np.fromiter(failures, dtype=np.int64))]
        lengths = [feature.lengths_N for feature in encoded.features if feature.lengths_N is not None]
        lengths_N = np.sum(lengths, axis=0) if lengths else None
        outputs: list[tuple[Rows, Outputs]] = []
        for part in pack(positions, lengths_N, batch_size=self.batch_size, max_tokens=self._max_tokens):
            pieces, failed = quarantine.run("forward", part, lambda chosen: self._forward(encoded, chosen, tally))
            outputs += [(encoded.rows[chosen], output) for chosen, output in pieces]
            failures |= {int(encoded.rows[position]): failure for position, failure in failed.items()}
        forwarded = time.perf_counter()
        predictions = self._decode(encoded.window_rows, outputs, failures)
        tally.spend("forward", forwarded - started)
        tally.spend("decode", time.perf_counter() - forwarded)
        return predictions

    @torch.inference_mode()
    def _forward(self, encoded: Encoded, positions: Rows, tally: Tally) -> Outputs:
        arguments = [
            tensor.to(self.device, non_blocking=True)
            for feature in encoded.features
            for tensor in feature.collate(positions)
        ]
        logits, embedding = self._split(self.module(*arguments))
        scores_BC = self._scores(logits, len(positions))
        confidence_B, class_index_B = scores_BC.max(dim=1)
        tally.batch_sizes[str(len(positions))] = tally.batch_sizes.get(str(len(positions)), 0) + 1
        wants = self.task.extras
        return Outputs(
            class_index_B=class_index_B.cpu().numpy(),
            confidence_B=confidence_B.cpu().numpy(),
            scores_BC=scores_BC.cpu().numpy() if "scores" in wants else None,
            embedding_BE=self._embedding(embedding, len(positions)) if "embedding" in wants else None,
        )

    @staticmethod
    def _split(output: Any) -> tuple[Any, Any]:
        if isinstance(output, torch.Tensor):
            return output, None
        if isinstance(output, tuple | list) and output:
            return output[0], output[1] if len(output) > 1 else None
        return getattr(output, "logits", output), getattr(output, "embedding", None)

    def _scores(self, logits: Any, rows: int) -> torch.Tensor:
        """Softmax probabilities (B, C) in float32; NaN in every class where a logit is not finite."""
        where, labels = f"task {self.task.name!r}", len(self.task.labels)
        if not isinstance(logits, torch.Tensor):
            raise ModelError(f"{where}: forward gave a {type(logits).__name__}; logits must be a tensor (B, C)")
        logits_BC = logits.float()
        if labels == 2 and logits_BC.shape in ((rows,), (rows, 1)):
            logits_BC = torch.stack([torch.zeros_like(logits_BC.view(rows)), logits_BC.view(rows)], dim=1)
        if logits_BC.shape != (rows, labels):
            raise ModelError(
                f"{where}: the model gave logits of shape {tuple(logits.shape)} for {rows} rows and {labels} labels; "
                f"({rows}, {labels}) is due. Declare one label per logit, in the model's order"
            )
        finite_B1 = torch.isfinite(logits_BC).all(dim=1, keepdim=True)
        return torch.softmax(logits_BC, dim=1).masked_fill(~finite_B1, torch.nan)

    def _embedding(self, embedding: Any, rows: int) -> Any:
        if not isinstance(embedding, torch.Tensor) or embedding.ndim != 2 or len(embedding) != rows:
            shape = tuple(embedding.shape) if isinstance(embedding, torch.Tensor) else type(embedding).__name__
            raise ModelError(
                f"task {self.task.name!r} asks for `embedding`, but forward gave {shape} beside its logits; return "
                f"(logits, embedding) with an embedding of shape (B, E)"
            )
        return embedding.float().cpu().numpy()

    def _decode(
        self, window_rows: int, outputs: list[tuple[Rows, Outputs]], failures: dict[int, RowFailure]
    ) -> Predictions:
        index_N = np.zeros(window_rows, dtype=np.int64)
        confidence_N = np.full(window_rows, np.nan, dtype=np.float32)
        for rows, output in outputs:
            index_N[rows] = output.class_index_B
            confidence_N[rows] = output.confidence_B
        not_finite = np.isnan(confidence_N)
        if not_finite.any():
            for row in np.flatnonzero(not_finite):
                failures.setdefault(int(row), NOT_FINITE)
        columns = {}
        for extra in self.task.extras:
            found = [(rows, output.scores_BC if extra == "scores" else output.embedding_BE) for rows, output in outputs]
            columns[f"{self.task.output_prefix}{extra}"] = scatter(
                [(rows, float_lists(values)) for rows, values in found if values is not None],
                window_rows,
                pa.list_(pa.float32()),
            )
        return Predictions(
            classes_N=self._labels.take(pa.array(index_N)),
            confidence_N=confidence_N,
            columns=columns,
            failures=failures,
        )

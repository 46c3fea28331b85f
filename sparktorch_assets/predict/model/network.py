"""Runs a network on its device: batches of encoded rows in, classes and confidences out.

Shapes: B rows of a batch, C classes, E embedding width.
"""

import copy
from typing import Any

import torch

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.batches.sizer import length_bucket
from sparktorch_assets.predict.encode.encoded import EncodedFeature
from sparktorch_assets.predict.failures import Rows
from sparktorch_assets.predict.model.input_guard import InputGuard
from sparktorch_assets.predict.model.precision import COMPARED_ROWS, Comparison, convert, input_dtype
from sparktorch_assets.predict.model.transfer import PendingOutputs, Transfer
from sparktorch_assets.tasks.ml_task import ONE_LABEL, MlTask


class Network:
    """Runs forward passes, and turns logits into classes and confidences."""

    def __init__(self, task: MlTask, module: torch.nn.Module, device: torch.device) -> None:
        self.task = task
        self.transfer = Transfer(device)
        self.module = convert(module, task.execution, device)
        self._reference = module if task.execution.precision != "fp32" else None
        self.comparison = None if self._reference is None else Comparison()
        """The comparison with fp32 over the run's first rows; `None` if the task runs in fp32."""
        self._guard = InputGuard(f"task {task.name!r}")
        self._dtype = input_dtype(task.execution)
        self._fixed_shapes = task.execution.compile != "none"

    def for_run(self, task: MlTask) -> "Network":
        """The same network for another run, whose first rows are compared again."""
        run = copy.copy(self)
        run.task = task
        run.comparison = None if self._reference is None else Comparison()
        run._guard = InputGuard(f"task {task.name!r}")  # noqa: SLF001  (a copy of its own class)
        return run

    @property
    def weight_bytes(self) -> int:
        """Bytes of the parameters and buffers, including those of the fp32 reference network."""
        networks = [self.module] if self._reference is None else [self.module, self._reference]
        tensors = [tensor for one in networks for tensor in (*one.parameters(), *one.buffers())]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    @property
    def undecided(self) -> bool:
        """Whether the comparison of the first rows may still stop the run."""
        return self.comparison is not None and self.comparison.open and self.task.execution.min_agreement is not None

    def decide(self) -> None:
        """Decide by the rows that have been compared so far.

        Raises:
            ModelError: the network's agreement with fp32 is below `min_agreement`.
        """
        self._check_agreement(now=True)

    @torch.inference_mode()
    def run(self, features: list[EncodedFeature], positions: Rows, longest: int) -> PendingOutputs:
        """Start predicting rows of a window.

        Args:
            features: the window's feature groups, in the order of `forward`'s arguments.
            positions: the positions of the rows in `features`.
            longest: number of tokens of the longest of these rows; 0 if rows have no lengths.

        Returns:
            `classes` int64 (B,); `confidence` float32 (B,), NaN for rows with a logit that is not finite; and, if the
            task asks for them, `scores` (B, C) and `embedding` (B, E), both float32.

        Raises:
            ModelError: the network's output does not fit the labels or the `model_outputs`, or its agreement with fp32 is below
                `min_agreement`.
        """
        if self.comparison is not None:
            self._check_agreement()  # once it has failed, no batch runs any more
        rows = len(positions)
        arguments = self.transfer.to_device(self._collate(features, positions, longest))
        compared: list[torch.Tensor] = []
        if self.comparison is not None and self.comparison.open:  # the network may change its arguments in place
            compared = [tensor[: COMPARED_ROWS - self.comparison.rows].clone() for tensor in arguments]
        logits, embedding = _split(self._forward(arguments))
        logits_BC = self._check_logits(logits, len(arguments[0]) if arguments else rows)[:rows]
        if self.comparison is not None and self.comparison.open:
            self._compare(self.comparison, compared, logits_BC)
        highest_B, class_index_B = logits_BC.max(dim=1)
        # The winner's softmax probability alone: with few classes, a full softmax would be the slowest step.
        confidence_B = (logits_BC - highest_B[:, None]).exp_().sum(dim=1).reciprocal_()
        # The smallest and largest logits of a row are finite only if all are, and 0 x (NaN or infinity) is NaN, which
        # marks the row.
        confidence_B += (highest_B + logits_BC.amin(dim=1) * 0.0) * 0.0
        found = {"classes": class_index_B, "confidence": confidence_B}
        if "scores" in self.task.model_outputs:
            found["scores"] = torch.softmax(logits_BC, dim=1)
        if "embedding" in self.task.model_outputs:
            found["embedding"] = self._check_embedding(embedding, rows)
        return self.transfer.to_host(found)

    def _forward(self, arguments: list[torch.Tensor]) -> Any:
        if self.transfer.device.type != "cpu":  # tensors on another device are copies already
            return self.module(*self._cast(arguments))
        with self._guard.arguments(arguments) as guarded:
            return self.module(*self._cast(guarded))

    def _collate(self, features: list[EncodedFeature], positions: Rows, longest: int) -> list[torch.Tensor]:
        if not self._fixed_shapes:
            return [tensor for feature in features for tensor in feature.collate(positions)]
        # A compiled network is recompiled for every new shape, so rows and tokens are padded to powers of two.
        width = length_bucket(longest)
        surplus = length_bucket(len(positions)) - len(positions)
        return [
            torch.cat([tensor, tensor[-1:].expand(surplus, *tensor.shape[1:])]) if surplus else tensor
            for feature in features
            for tensor in feature.collate(positions, width)
        ]

    def _cast(self, arguments: list[torch.Tensor]) -> list[torch.Tensor]:
        if self.task.execution.channels_last:
            arguments = [
                tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
                for tensor in arguments
            ]
        if self._dtype is None:
            return arguments
        return [tensor.to(self._dtype) if tensor.is_floating_point() else tensor for tensor in arguments]

    def _compare(self, comparison: Comparison, arguments: list[torch.Tensor], logits_BC: torch.Tensor) -> None:
        """Compare these rows with fp32, up to `COMPARED_ROWS` rows per run."""
        assert self._reference is not None
        rows = min(len(logits_BC), COMPARED_ROWS - comparison.rows)
        self._move_reference(self.transfer.device)
        reference, _ = _split(self._reference(*(tensor[:rows] for tensor in arguments)))
        comparison.add(self._check_logits(reference, rows), logits_BC[:rows])
        if not comparison.open:
            self._move_reference(torch.device("cpu"))  # until the next run, to leave the GPU's memory to batches
        self._check_agreement()

    def _move_reference(self, device: torch.device) -> None:
        if self._reference is not None and self.transfer.device.type != "cpu":
            with torch.inference_mode(mode=False):  # keeps the parameters ordinary tensors
                self._reference.to(device)

    def _check_agreement(self, *, now: bool = False) -> None:
        floor, comparison = self.task.execution.min_agreement, self.comparison
        if comparison is not None and comparison.fails(floor, now=now):
            raise ModelError(
                f"task {self.task.name!r}: in {self.task.execution.precision}, {comparison.share:.4f} of the first "
                f"{comparison.rows} rows get the same class as in fp32, below min_agreement={floor:g}; use a "
                f"higher precision"
            )

    def _check_logits(self, logits: Any, rows: int) -> torch.Tensor:
        """Logits (B, C) in float32, checked against the labels."""
        where, labels = f"task {self.task.name!r}", len(self.task.labels)
        if labels == 1:
            raise ModelError(f"{where}: labels={list(self.task.labels)!r} {ONE_LABEL}")
        if not isinstance(logits, torch.Tensor):
            raise ModelError(f"{where}: forward returned a {type(logits).__name__}; logits must be a tensor (B, C)")
        logits_BC = logits.float()
        if labels == 2 and logits_BC.shape in ((rows,), (rows, 1)):
            logits_BC = torch.stack([torch.zeros_like(logits_BC.view(rows)), logits_BC.view(rows)], dim=1)
        if logits_BC.shape != (rows, labels):
            raise ModelError(
                f"{where}: the model returned logits of shape {tuple(logits.shape)} for {rows} rows and {labels} "
                f"labels; expected ({rows}, {labels}). Declare one label per logit, in the model's order"
            )
        return logits_BC

    def _check_embedding(self, embedding: Any, rows: int) -> torch.Tensor:
        if not isinstance(embedding, torch.Tensor) or embedding.ndim != 2 or len(embedding) < rows:
            shape = tuple(embedding.shape) if isinstance(embedding, torch.Tensor) else type(embedding).__name__
            raise ModelError(
                f"task {self.task.name!r} asks for `embedding`, but forward returned {shape} in addition to its "
                f"logits; return (logits, embedding) with an embedding of shape (B, E)"
            )
        return embedding[:rows].to(torch.float32, copy=True)  # it may be a buffer that the network reuses


def _split(output: Any) -> tuple[Any, Any]:
    """The logits and the embedding in what `forward` returned; `None` for a missing embedding."""
    if isinstance(output, torch.Tensor):
        return output, None
    if isinstance(output, tuple | list) and output:
        return output[0], output[1] if len(output) > 1 else None
    return getattr(output, "logits", output), getattr(output, "embedding", None)

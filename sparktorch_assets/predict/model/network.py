"""Runs a network on its device: batches of encoded rows in, what the task's output needs of the result out.

Shapes: B rows of a batch, T tokens.
"""

import copy
from dataclasses import replace
from typing import Any

import torch

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.batches.sizer import length_bucket
from sparktorch_assets.predict.encode.encoded import EncodedFeature, by_feature
from sparktorch_assets.predict.failures import Rows
from sparktorch_assets.predict.model.formats.generation import GeneratingNetwork
from sparktorch_assets.predict.model.input_guard import InputGuard
from sparktorch_assets.predict.model.packed_linear import pack_linear_layers
from sparktorch_assets.predict.model.precision import COMPARED_ROWS, Comparison, convert, input_dtype
from sparktorch_assets.predict.model.token_range import TokenRange
from sparktorch_assets.predict.model.transfer import PendingOutputs, Transfer
from sparktorch_assets.predict.outputs import make_decoder
from sparktorch_assets.predict.outputs.decoder import Forward, ToTexts
from sparktorch_assets.tasks.ml_task import MlTask


class Network:
    """Runs forward passes, and compares the first ones with fp32."""

    def __init__(
        self, task: MlTask, module: torch.nn.Module, device: torch.device, to_texts: ToTexts | None = None
    ) -> None:
        self.task = task
        self._to_texts = to_texts
        self.new_tokens = module.new_tokens if isinstance(module, GeneratingNetwork) else 0
        """The number of tokens that a row's own may be followed by: they take memory, and a pass each."""
        self.transfer = Transfer(device)
        self.module = convert(module, task.execution, device)
        pack_linear_layers(self.module, task.execution, device)
        self._reference = module if task.execution.precision != "fp32" else None
        self.comparison = None if self._reference is None else Comparison()
        """The comparison with fp32 over the run's first rows; `None` if the task runs in fp32."""
        self.decoder = make_decoder(task, to_texts)
        self._guard = InputGuard(f"task {task.name!r}")
        self._tokens = None if device.type == "cpu" else TokenRange(module)
        self._dtype = input_dtype(task.execution)
        self._fixed_shapes = task.execution.compile != "none"

    def for_run(self, task: MlTask) -> "Network":
        """The same network for another run, whose first rows are compared again."""
        run = copy.copy(self)
        run.task, run.decoder = task, make_decoder(task, self._to_texts)
        run.comparison = None if self._reference is None else Comparison()
        run._guard = InputGuard(f"task {task.name!r}")  # noqa: SLF001  (a copy of its own class)
        return run

    @property
    def weight_bytes(self) -> int:
        """Bytes of the parameters and buffers, including those of the fp32 reference network."""
        networks = [self.module] if self._reference is None else [self.module, self._reference]
        tensors = [tensor for one in networks for tensor in (*one.parameters(), *one.buffers())]
        outside_torch: int = getattr(self.module, "weight_bytes", 0)  # of a session of onnxruntime, for instance
        return outside_torch + sum(tensor.numel() * tensor.element_size() for tensor in tensors)

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
            What the decoder of the task's output needs of the result.

        Raises:
            ModelError: the network's result does not fit the task's output, or its agreement with fp32 is below
                `min_agreement`.
        """
        if self.comparison is not None:
            self._check_agreement()  # once it has failed, no batch runs any more
        rows = len(positions)
        tensors = self._collate(features, positions, longest)
        if self._tokens is not None:
            self._tokens.check(features, tensors)
        with self.transfer.batch() as copies:
            arguments = on_device(features, copies.to_device(tensors))
            return copies.to_host(self._results(arguments, features, rows))

    def _results(
        self, arguments: list[torch.Tensor], features: list[EncodedFeature], rows: int
    ) -> dict[str, torch.Tensor]:
        """What the decoder needs of the network's result, on the device."""
        names = self._argument_names(features)
        compared: list[torch.Tensor] = []
        if self.comparison is not None and self.comparison.open:  # the network may change its arguments in place
            compared = [tensor[: COMPARED_ROWS - self.comparison.rows].clone() for tensor in arguments]
        forward = Forward(
            result=self._forward(arguments, names),
            computed=len(arguments[0]) if arguments else rows,
            rows=rows,
            mask_BT=_mask(features, arguments),
        )
        # Tensors first: they tell whether the result is what the output needs, in terms of the task.
        found = self.decoder.tensors(forward)
        if self.comparison is not None and self.comparison.open:
            self._compare(self.comparison, compared, names, forward)
        return found

    def _argument_names(self, features: list[EncodedFeature]) -> list[str | None]:
        """For each of the features' tensors, the name of its argument; `None` if it is given by position."""
        found: list[str | None] = []
        for declared, encoded in zip(self.task.features, features, strict=True):
            names = declared.arguments_of_forward
            found += [*names, *[None] * (encoded.arguments - len(names))]
        return found

    def _forward(self, arguments: list[torch.Tensor], names: list[str | None]) -> Any:
        if self.transfer.device.type != "cpu":  # tensors on another device are copies already
            return _call(self.module, self._cast(arguments), names)
        with self._guard.arguments(arguments) as guarded:
            return _call(self.module, self._cast(guarded), names)

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

    def _compare(
        self, comparison: Comparison, arguments: list[torch.Tensor], names: list[str | None], forward: Forward
    ) -> None:
        """Compare these rows with fp32, up to `COMPARED_ROWS` rows per run."""
        assert self._reference is not None
        rows = min(forward.rows, COMPARED_ROWS - comparison.rows)
        self._move_reference(self.transfer.device)
        cut = [tensor[:rows] for tensor in arguments]
        mask = None if forward.mask_BT is None else forward.mask_BT[:rows]
        reference = Forward(result=_call(self._reference, cut, names), computed=rows, rows=rows, mask_BT=mask)
        comparison.add(*self.decoder.compare(reference, replace(forward, rows=rows)))
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
                f"{comparison.rows} rows get the same prediction as in fp32, below min_agreement={floor:g}; use a "
                f"higher precision"
            )


def on_device(features: list[EncodedFeature], tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """The arguments of `forward`, from what the features' `collate` returned and was copied to the device."""
    return [argument for feature, own in by_feature(features, tensors) for argument in feature.on_device(own)]


def _call(module: torch.nn.Module, arguments: list[torch.Tensor], names: list[str | None]) -> Any:
    """The result of `forward` for these arguments, each by its name if it has one, else by position."""
    positional = [argument for argument, name in zip(arguments, names, strict=True) if name is None]
    named = {name: argument for argument, name in zip(arguments, names, strict=True) if name is not None}
    return module(*positional, **named)


def _mask(features: list[EncodedFeature], arguments: list[torch.Tensor]) -> torch.Tensor | None:
    """The mask of the first feature with lengths: the second of its arguments."""
    for feature, own in by_feature(features, arguments):
        if feature.lengths_N is not None:
            return own[1] if len(own) > 1 else None
    return None

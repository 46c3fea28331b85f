"""Copies tensors between host and device, concurrently with computation if the device supports it.

On CUDA, inputs go through pinned memory on a separate stream, and outputs come back asynchronously: the host waits for
them only when they are read, one batch later. On the CPU, nothing is copied.
"""

import contextlib
import threading
import weakref
from types import TracebackType
from typing import Any, Protocol, Self

import numpy.typing as npt
import torch

from sparktorch_assets.predict.device_failure import device_errors
from sparktorch_assets.predict.model.pinned_memory import PINNED


class PendingOutputs:
    """Results that are being copied to the host.

    Args:
        tensors: where they will be.
        done: the CUDA event after which they are there; `None` if they are there already.
    """

    def __init__(self, tensors: dict[str, torch.Tensor], done: Any) -> None:
        self._tensors = tensors
        self._done = done
        self._fetched: dict[str, npt.NDArray[Any]] | None = None

    @property
    def fetched(self) -> bool:
        """Whether the results have been read, so that their pinned memory is of no more use."""
        return self._fetched is not None

    def fetch(self) -> dict[str, npt.NDArray[Any]]:
        """Wait for the results, and return them.

        Raises:
            DeviceError: the GPU failed after the batch was launched.
        """
        if self._fetched is None:
            if self._done is None:
                self._fetched = {name: tensor.numpy() for name, tensor in self._tensors.items()}
            else:
                with device_errors():
                    self._done.synchronize()
                self._fetched = {name: tensor.numpy().copy() for name, tensor in self._tensors.items()}
                self._tensors, self._done = {}, None
                _UNDER_WAY.release()
        return self._fetched


class BatchCopies(Protocol):
    """The copies of one batch: a context, inside which the batch is launched."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def to_device(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        """Copy the tensors to the device; kernels that are launched next on the current stream wait for the copies."""
        ...

    def to_host(self, tensors: dict[str, torch.Tensor]) -> PendingOutputs:
        """Start copying results to the host."""
        ...


class Transfer:
    """Copies for one model instance on one device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.asynchronous = device.type == "cuda"
        self._copies = torch.cuda.Stream(device) if self.asynchronous else None  # type: ignore[no-untyped-call]

    def batch(self) -> BatchCopies:
        """The copies of the next batch."""
        if self._copies is None:
            return _HostCopies(self.device)
        _UNDER_WAY.release()
        return _CudaCopies(self.device, self._copies)

    def wait(self) -> None:
        """Wait until all launched work has finished, so that it can be timed."""
        if self.asynchronous:
            torch.cuda.synchronize(self.device)

    def free(self) -> None:
        """Return cached memory to the device after it ran out."""
        if self.asynchronous:
            with device_errors():
                torch.cuda.synchronize(self.device)
            _UNDER_WAY.release()
            torch.cuda.empty_cache()


class _HostCopies:
    """A batch on a device that works synchronously."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """There is nothing to wait for."""

    def to_device(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        return [tensor.to(self._device) for tensor in tensors]

    def to_host(self, tensors: dict[str, torch.Tensor]) -> PendingOutputs:
        return PendingOutputs({name: tensor.cpu() for name, tensor in tensors.items()}, None)


class _CudaCopies:
    """A batch on a GPU. It owns the memory that copies and kernels use, until they have finished.

    `Tensor.record_stream` would do so for inputs too, but the event that it makes torch create in a destructor ends the
    process if the GPU has failed (see `PinnedMemory`).
    """

    def __init__(self, device: torch.device, copies: Any) -> None:
        self._device, self._copies = device, copies
        self._computing = torch.cuda.current_stream(device)
        self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._inputs: list[torch.Tensor] = []
        self._staging: list[torch.Tensor] = []
        self._results: list[torch.Tensor] = []
        self._reader: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # If the GPU failed, this fails as well, and the memory is lost with it.
        with contextlib.suppress(RuntimeError) if kind else contextlib.nullcontext():
            self._done.record(self._computing)
            _UNDER_WAY.add(self)

    def to_device(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        try:
            with torch.cuda.stream(self._copies):
                for tensor in tensors:
                    staged = _pinned_like(tensor, self._staging)
                    staged.copy_(tensor)
                    self._inputs.append(staged.to(self._device, non_blocking=True))
        finally:
            self._computing.wait_stream(self._copies)
        return list(self._inputs)

    def to_host(self, tensors: dict[str, torch.Tensor]) -> PendingOutputs:
        host = {name: _pinned_like(tensor, self._results) for name, tensor in tensors.items()}
        for name, tensor in tensors.items():
            host[name].copy_(tensor, non_blocking=True)
        outputs = PendingOutputs(host, self._done)
        self._reader = weakref.ref(outputs)
        return outputs

    def released(self) -> bool:
        """Release what is of no more use; whether that is all."""
        if not self._done.query():  # type: ignore[no-untyped-call]
            return False
        PINNED.give_back(self._staging)
        self._inputs, self._staging = [], []
        reader = self._reader() if self._reader else None
        if reader is not None and not reader.fetched:
            return False
        PINNED.give_back(self._results)
        self._results = []
        return True


class _UnderWay:
    """The batches of this process, of all models, whose memory may still be used."""

    def __init__(self) -> None:
        self._batches: list[_CudaCopies] = []
        self._lock = threading.Lock()

    def add(self, batch: _CudaCopies) -> None:
        with self._lock:
            self._batches.append(batch)

    def release(self) -> None:
        """Let go of what finished batches have used."""
        with self._lock, device_errors():
            self._batches = [batch for batch in self._batches if not batch.released()]


_UNDER_WAY = _UnderWay()


def _pinned_like(tensor: torch.Tensor, taken: list[torch.Tensor]) -> torch.Tensor:
    """Pinned memory for this tensor's values; its buffer is added to `taken`."""
    size = tensor.numel() * tensor.element_size()
    buffer = PINNED.take(size)
    taken.append(buffer)
    return buffer[:size].view(tensor.dtype).view(tensor.shape)

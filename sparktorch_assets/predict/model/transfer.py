"""Copies tensors between host and device, concurrently with computation if the device supports it.

On CUDA, inputs go through pinned memory on a separate stream, and outputs come back asynchronously: the host waits for
them only when they are read, one batch later. On the CPU, nothing is copied.
"""

from typing import Any

import numpy.typing as npt
import torch

from sparktorch_assets.predict.device_failure import device_errors


class Transfer:
    """Copies for one model instance on one device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.asynchronous = device.type == "cuda"
        self._copies = torch.cuda.Stream(device) if self.asynchronous else None  # type: ignore[no-untyped-call]

    def to_device(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        """Copy the tensors to the device; kernels that are launched next on the current stream wait for the copies."""
        if self._copies is None:
            return [tensor.to(self.device) for tensor in tensors]
        computing = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._copies):
            moved = [tensor.pin_memory().to(self.device, non_blocking=True) for tensor in tensors]
        computing.wait_stream(self._copies)
        for tensor in moved:
            tensor.record_stream(computing)
        return moved

    def to_host(self, tensors: dict[str, torch.Tensor]) -> "PendingOutputs":
        """Start copying results to the host."""
        if not self.asynchronous:
            return PendingOutputs({name: tensor.cpu() for name, tensor in tensors.items()}, None)
        host = {}
        for name, tensor in tensors.items():
            host[name] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            host[name].copy_(tensor, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(torch.cuda.current_stream(self.device))
        return PendingOutputs(host, done)

    def wait(self) -> None:
        """Wait until all launched work has finished, so that it can be timed."""
        if self.asynchronous:
            torch.cuda.synchronize(self.device)

    def free(self) -> None:
        """Return cached memory to the device after it ran out."""
        if self.asynchronous:
            torch.cuda.empty_cache()


class PendingOutputs:
    """Results that are being copied to the host."""

    def __init__(self, tensors: dict[str, torch.Tensor], done: Any) -> None:
        self._tensors = tensors
        self._done = done

    def fetch(self) -> dict[str, npt.NDArray[Any]]:
        """Wait for the results, and return them.

        Raises:
            DeviceError: the GPU failed after the batch was launched.
        """
        if self._done is not None:
            with device_errors():
                self._done.synchronize()
            self._done = None
        return {name: tensor.numpy() for name, tensor in self._tensors.items()}

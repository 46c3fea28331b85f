"""Page-locked host memory, which a GPU reads and writes while the host does other work."""

import ctypes
import threading

import torch

_SMALLEST = 4096


class PinnedMemory:
    """Buffers of page-locked memory, which are used again and never freed while the process lives.

    torch returns such memory to a cache of its own as well, which it does not give back either. But to do so, it creates a
    CUDA event in a destructor: if the GPU has failed in the meantime, that ends the process, before it can say why. So
    each buffer keeps one reference that nobody drops.
    """

    def __init__(self) -> None:
        self._free: list[torch.Tensor] = []
        self._lock = threading.Lock()

    def take(self, size: int) -> torch.Tensor:
        """A buffer (uint8) of at least `size` bytes, aligned for every dtype. Give it back when no copy uses it."""
        with self._lock:
            fitting = [buffer for buffer in self._free if len(buffer) >= size]
            if fitting:
                smallest = min(fitting, key=len)
                self._free = [buffer for buffer in self._free if buffer is not smallest]
                return smallest
        buffer = torch.empty(max(_SMALLEST, 1 << (size - 1).bit_length()), dtype=torch.uint8, pin_memory=True)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(buffer))
        return buffer

    def give_back(self, buffers: list[torch.Tensor]) -> None:
        """Let others have these buffers."""
        with self._lock:
            self._free += buffers


PINNED = PinnedMemory()
"""The buffers of this process."""

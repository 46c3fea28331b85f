"""Recognizes out-of-memory errors, and shares the sizes that fit among all slots of a host.

The sizes are kept in a small file per model and device type, so that sibling processes and the next run start from
them.
"""

import contextlib
import json
import os
import tempfile
from pathlib import Path

import torch

from sparktorch_assets.private_folder import PrivateFolder


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` means that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The CPU allocator raises a plain RuntimeError (torch 2.13, c10/core/impl/alloc_cpu.cpp).
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator: " in str(error)


class SharedLimits:
    """Rows per length bucket that are known to fit, shared by the processes of a host."""

    def __init__(self, key: str, folder: Path | None = None) -> None:
        self._folder = PrivateFolder(folder or Path(tempfile.gettempdir()) / f"sparktorch-memory-{os.getuid()}")
        self._name = f"{key}.json"

    def read(self) -> dict[int, int] | None:
        """The rows per length bucket that are known to fit; `None` if no process has run out of memory yet, the file is
        damaged, or its folder belongs to another user."""
        try:
            return {int(bucket): int(rows) for bucket, rows in json.loads(self._folder.read(self._name)).items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return None

    def write(self, ceilings: dict[int, int]) -> None:
        """Replace what is known. No lock is taken, since losing a race with a sibling costs only one more halving."""
        with contextlib.suppress(OSError):  # a host without a writable temporary folder finds the sizes again each time
            self._folder.replace(self._name, json.dumps(ceilings).encode())

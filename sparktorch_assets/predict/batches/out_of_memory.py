"""Running out of memory: told apart from other errors, survived by halving, and remembered by all slots of a host.

What fitted is kept in a small file per model and device, so that sibling processes and the next run start there.
"""

import contextlib
import json
import os
import tempfile
from pathlib import Path

import torch

from sparktorch_assets.private_folder import PrivateFolder


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The CPU allocator raises a plain RuntimeError (torch 2.13, c10/core/impl/alloc_cpu.cpp).
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator: " in str(error)


class SharedCeilings:
    """Rows per length bucket that are known to fit, shared by the processes of a host."""

    def __init__(self, key: str, folder: Path | None = None) -> None:
        self._folder = PrivateFolder(folder or Path(tempfile.gettempdir()) / f"sparktorch-memory-{os.getuid()}")
        self._name = f"{key}.json"

    def read(self) -> dict[int, int] | None:
        """What is known; `None` where no one ran out of memory yet, the file is damaged, or its folder belongs to somebody
        else."""
        try:
            return {int(bucket): int(rows) for bucket, rows in json.loads(self._folder.read(self._name)).items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return None

    def write(self, ceilings: dict[int, int]) -> None:
        """What fits now, in place of what was known; losing a race with a sibling costs one more halving, so no lock is
        taken."""
        with contextlib.suppress(OSError):  # a host without a writable temporary folder learns again each time
            self._folder.replace(self._name, json.dumps(ceilings).encode())

"""Recognizes errors after which a GPU is of no more use to a process: the device is gone, or CUDA's state is lost.

Every later call of that process would fail as well, whatever rows it is for, so such an error must not be taken for one
about a row. A device that has run out of memory, or that cannot launch a kernel with so many rows, goes on working.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sparktorch_assets.errors import DeviceError, SparktorchError

_FAILURES = (
    "CUDA error: ",
    "HIP error: ",
    "No CUDA GPUs are available",
    "CUBLAS_STATUS_EXECUTION_FAILED",
    "CUBLAS_STATUS_INTERNAL_ERROR",
    "CUDNN_STATUS_EXECUTION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR",
)
"""Parts of the messages of such errors."""
_ABOUT_THE_BATCH = (
    "out of memory",
    "invalid argument",
    "invalid configuration argument",
    "too many resources requested for launch",
)
"""Parts of the messages of errors for which the batch may be the reason, and after which the device goes on working."""
_LONGEST = 300


def device_error(error: BaseException) -> DeviceError | None:
    """What to raise instead of `error` if that says that the GPU can no longer be used; else `None`."""
    if not isinstance(error, RuntimeError) or isinstance(error, SparktorchError):
        return None
    text = str(error)
    if not any(part in text for part in _FAILURES) or any(part in text for part in _ABOUT_THE_BATCH):
        return None
    first_line = next(iter(text.splitlines()), "")[:_LONGEST]
    return DeviceError(
        f"the GPU failed: {first_line}. This process cannot use it any more; on a cluster, Spark tries the work again "
        f"elsewhere. If it fails everywhere at the same rows, one of them may be what a kernel does not accept, such as a "
        f"token beyond the vocabulary: predict them with device: cpu to find it"
    )


@contextmanager
def device_errors() -> Iterator[None]:
    """Raise DeviceError instead of errors which say that the GPU can no longer be used."""
    try:
        yield
    except RuntimeError as error:
        failed = device_error(error)
        if failed is None:
            raise
        raise failed from error

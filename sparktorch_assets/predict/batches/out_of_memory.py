"""Recognizes out-of-memory errors."""

import torch

_SHORTAGES = (
    # The CPU allocator raises a plain RuntimeError (torch 2.13, c10/core/impl/alloc_cpu.cpp), and so do C++ containers.
    "DefaultCPUAllocator: ",
    "std::bad_alloc",
    # A TorchScript program raises a plain RuntimeError as well, which quotes the original one.
    "CUDA out of memory",
    "HIP out of memory",
    # Memory that is not taken from torch's allocator: of the driver, of cuBLAS and of cuDNN.
    "CUDA error: out of memory",
    "HIP error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    # cuDNN has no algorithm for so large a batch, or none whose workspace fits.
    "CUDNN_STATUS_NOT_SUPPORTED",
    "unable to find an engine to execute this computation",
)
"""Parts of the messages of a `RuntimeError` for which a smaller batch may be the remedy."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` means that a batch did not fit: memory ran out, on a GPU or on the CPU, or cuDNN cannot handle a
    batch of that size."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(shortage in str(error) for shortage in _SHORTAGES)

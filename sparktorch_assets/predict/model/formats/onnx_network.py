"""Runs an ONNX file with onnxruntime, as a module that takes and returns tensors of torch.

Nothing is copied between the two: inputs are bound at their addresses, on the CPU and on a GPU, and outputs are shared
through DLPack. An ONNX file is a graph of known operators, so no code runs from it: libraries of custom operators are
never registered, and onnxruntime loads one only if it is.
"""

from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.dlpack import from_dlpack

from sparktorch_assets.errors import ModelError
from sparktorch_assets.tasks.files.onnx.onnx_arguments import argument_of
from sparktorch_assets.tasks.files.onnx.onnx_file import OnnxFile, OnnxValue
from sparktorch_assets.tasks.model_spec import ModelSpec

_ELEMENTS: dict[str, tuple[torch.dtype, Any]] = {
    "float32": (torch.float32, np.float32),
    "float64": (torch.float64, np.float64),
    "float16": (torch.float16, np.float16),
    "bfloat16": (torch.bfloat16, 16),  # numpy has no such type; the number is that of TensorProto.DataType
    "int64": (torch.int64, np.int64),
    "int32": (torch.int32, np.int32),
    "int16": (torch.int16, np.int16),
    "int8": (torch.int8, np.int8),
    "uint8": (torch.uint8, np.uint8),
    "bool": (torch.bool, np.bool_),
}
"""The types that inputs may have: torch's, and onnxruntime's name for it."""

_SHORTAGES = ("Failed to allocate memory", "std::bad_alloc", "bad allocation", "CUDA failure 2: out of memory")
"""Parts of onnxruntime's messages if memory ran out, for which a smaller batch may be the remedy."""


def read_onnx(spec: ModelSpec, path: Path, device: torch.device) -> torch.nn.Module:  # noqa: ARG001  (as every reader)
    """The file's network, on `device`.

    Raises:
        ModelError: onnxruntime is not installed, has no provider for the device, or cannot load the file; or an input or
            output is not a tensor with one entry per row.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(
            f"{path} is an ONNX file, which takes the package onnxruntime, and that cannot be imported here ({error}); run "
            f"pip install 'sparktorch-assets[onnx]' on every worker"
        ) from error
    file = OnnxFile.of(path)
    file.check_data()
    for value in (*file.inputs, *file.outputs):
        _check_value(file, value)
    if device.type == "cuda" and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise ModelError(
            f"{path} is to run on {device}, but this onnxruntime has no CUDA provider; install onnxruntime-gpu in its "
            f"place, or set device: cpu"
        )
    try:
        session = onnxruntime.InferenceSession(
            path, _options(onnxruntime), providers=_providers(device), enable_fallback=0
        )
    except Exception as error:  # onnxruntime's own exceptions have no common class but this
        raise ModelError(_cannot_load(file, error)) from error
    if device.type == "cuda" and session.get_providers()[0] != "CUDAExecutionProvider":
        raise ModelError(
            f"{path}: onnxruntime cannot use {device}; its log says why, most often that it was built for another version "
            f"of CUDA or cuDNN"
        )
    return OnnxNetwork(file, session, device)


def _check_value(file: OnnxFile, value: OnnxValue) -> None:
    if value.dtype not in _ELEMENTS:
        what = "is not a tensor" if value.dtype is None else f"holds {value.dtype}"
        raise ModelError(
            f"{file.path}: {value.name!r} {what}, which has no place in a batch; export the network without it"
        )
    if value.shape == ():
        raise ModelError(
            f"{file.path}: {value.name!r} is a single number, and has no entry per row of a batch; export the network without it"
        )


def _options(onnxruntime: Any) -> Any:
    options = onnxruntime.SessionOptions()
    # As many threads as torch has in this slot. By default they would go on spinning between operators and batches, on
    # cores that belong to encoders and to other slots.
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_mem_pattern = False  # a plan of memory would be kept for each shape of a batch
    options.log_severity_level = 3
    return options


def _providers(device: torch.device) -> list[Any]:
    if device.type == "cpu":
        return ["CPUExecutionProvider"]
    options = {
        "device_id": str(device.index or 0),
        "arena_extend_strategy": "kSameAsRequested",  # torch and other slots take memory from the same GPU
        "cudnn_conv_algo_search": "HEURISTIC",  # by default, all algorithms are timed for each new shape
        "use_tf32": "0",  # as torch multiplies matrices
    }
    return [("CUDAExecutionProvider", options), "CPUExecutionProvider"]


def _cannot_load(file: OnnxFile, error: Exception) -> str:
    reason = " ".join(str(error).split())[:500]
    return (
        f"onnxruntime cannot load {file.path}: {type(error).__name__}: {reason}. The file uses {', '.join(file.opsets)}: if "
        f"that is newer than this onnxruntime knows, upgrade onnxruntime, or export the network with an older opset_version; "
        f"operators of a custom library are not loaded"
    )


class OnnxNetwork(torch.nn.Module):
    """A session of onnxruntime as a module: arguments by name or by position, and the outputs as a named tuple.

    A file with a fixed number of rows gets that many at a time; the last rows are filled up with copies of the last one.
    """

    def __init__(self, file: OnnxFile, session: Any, device: torch.device) -> None:
        super().__init__()
        self._file, self._session, self._device = file, session, device
        self._inputs = {argument_of(value.name): value for value in file.inputs}
        self._outputs = [value.name for value in file.outputs]
        # A class whose fields are known from the file alone; names that Python cannot have are found by their place.
        names = map(argument_of, self._outputs)
        self._result: Any = namedtuple("OnnxOutputs", names, rename=True)  # type: ignore[misc]  # noqa: PYI024
        fixed = {value.shape[0] for value in file.inputs if value.shape and isinstance(value.shape[0], int)}
        self._fixed_rows = max(fixed) if fixed else None

    @property
    def weight_bytes(self) -> int:
        """Bytes of the file and of the files that hold its weights."""
        folder = self._file.path.parent
        return sum(
            path.stat().st_size for path in (self._file.path, *(folder / name for name in self._file.data_files))
        )

    def forward(self, *arguments: torch.Tensor, **named: torch.Tensor) -> Any:
        """The outputs of the file, by name and in its order.

        Raises:
            ModelError: an argument does not fit the input that it is given to, or an input gets none.
        """
        given = self._fitting(self._by_name(arguments, named))
        if self._fixed_rows is None or not given:
            return self._result(*self._run(given))
        rows = len(next(iter(given.values())))
        pieces = [
            self._run(
                {
                    name: _filled(tensor[start : start + self._fixed_rows], self._fixed_rows)
                    for name, tensor in given.items()
                }
            )
            for start in range(0, rows, self._fixed_rows)
        ]
        return self._result(*(torch.cat(parts)[:rows] for parts in zip(*pieces, strict=True)))

    def _by_name(self, arguments: tuple[torch.Tensor, ...], named: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """All arguments by name; those without one fill the other inputs in their order."""
        others = [name for name in self._inputs if name not in named]
        found = named | dict(zip(others, arguments, strict=False))
        if found.keys() != self._inputs.keys() or len(found) != len(arguments) + len(named):
            raise ModelError(
                f"{self._file.path} takes {len(self._inputs)} inputs ({', '.join(self._inputs)}), and the features give "
                f"{len(arguments) + len(named)} tensors; declare one for each input, in its order or with `argument`"
            )
        return found

    def _fitting(self, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The arguments under the names of the inputs, with the types that these declare."""
        found = {}
        for name, tensor in given.items():
            value = self._inputs[name]
            assert value.dtype is not None  # checked when the file was read
            wanted = _ELEMENTS[value.dtype][0]
            sizes = None if value.shape is None else value.shape[1:]
            fits = sizes is None or (
                len(sizes) == tensor.ndim - 1
                and all(isinstance(size, str) or size == has for size, has in zip(sizes, tensor.shape[1:], strict=True))
            )
            if not fits or not torch.can_cast(tensor.dtype, wanted):
                raise ModelError(
                    f"{self._file.path}: input {value} cannot take the feature's tensor, {tensor.dtype} "
                    f"({', '.join(('batch', *map(str, tensor.shape[1:])))}); change the feature, or export the network with "
                    f"this size dynamic"
                )
            if wanted in (torch.int32, torch.int16, torch.int8) and tensor.dtype == torch.int64:
                _check_range(tensor, wanted, value.name)
            found[value.name] = tensor.to(wanted).contiguous()
        return found

    def _run(self, given: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        kind, index = self._device.type, self._device.index or 0
        binding = self._session.io_binding()
        for value in self._inputs.values():
            tensor = given[value.name]
            binding.bind_input(
                value.name, kind, index, _ELEMENTS[str(value.dtype)][1], tuple(tensor.shape), tensor.data_ptr()
            )
        for name in self._outputs:
            binding.bind_output(name, kind, index)
        if kind == "cuda":  # onnxruntime has a stream of its own, and waits for it before it returns
            torch.cuda.current_stream(self._device).synchronize()
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # onnxruntime's own exceptions have no common class but this
            if any(shortage in str(error) for shortage in _SHORTAGES):
                raise MemoryError(str(error)) from error
            raise
        return [from_dlpack(value) for value in binding.get_outputs()]


def _filled(tensor: torch.Tensor, rows: int) -> torch.Tensor:
    missing = rows - len(tensor)
    return torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])]) if missing else tensor.contiguous()


def _check_range(tensor: torch.Tensor, dtype: torch.dtype, name: str) -> None:
    limits = torch.iinfo(dtype)
    low, high = (int(edge) for edge in torch.aminmax(tensor)) if tensor.numel() else (0, 0)
    if low < limits.min or high > limits.max:
        raise ValueError(f"a value of {name!r} is not in the range of {dtype}")

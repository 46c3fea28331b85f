"""What an ONNX file says about its network: inputs and outputs, operator sets, and the files that hold its weights.

The file is read as protocol buffers (the messages of `onnx.proto`), without the package onnx. Weights are skipped.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from sparktorch_assets.errors import ModelError
from sparktorch_assets.file_identity import FileIdentity, file_identity
from sparktorch_assets.tasks.files.onnx.wire_format import fields_of, inner_of, packed_of, text_of, values_of

_MODEL = {"ir_version": 1, "opset": 8, "graph": 7, "function": 25}
_GRAPH = {"node": 1, "initializer": 5, "input": 11, "output": 12, "sparse": 15}
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
}
"""`TensorProto.DataType`."""
_MAX_DEPTH = 32
"""Graphs inside of graphs (the branches of If, the bodies of Loop) beyond this depth are refused."""


@dataclass(frozen=True, slots=True)
class OnnxValue:
    """An input or an output."""

    name: str
    dtype: str | None
    """The type of its elements; `None` if it is no tensor, but a sequence or a map."""
    shape: tuple[int | str, ...] | None
    """Its dimensions; those that are not fixed have a name, or `?`. `None` if the file does not say it."""

    def __str__(self) -> str:
        if self.dtype is None:
            return f"{self.name}: not a tensor"
        shape = "any shape" if self.shape is None else f"({', '.join(map(str, self.shape))})"
        return f"{self.name} {self.dtype} {shape}"


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxFile:
    """What an ONNX file declares."""

    path: Path
    inputs: tuple[OnnxValue, ...]
    """What has to be given, in the order of the file; without those that the file itself holds a value for."""
    outputs: tuple[OnnxValue, ...]
    opsets: tuple[str, ...]
    """The operator sets, such as `ai.onnx 17`."""
    parameters: int
    """Number of values of the weights."""
    data_files: tuple[str, ...]
    """The names of the files that hold weights, relative to the folder of the file (`model.onnx.data`)."""

    @classmethod
    def of(cls, path: Path) -> "OnnxFile":
        """Read the file; again only if it has changed.

        Raises:
            ModelError: there is no such file, it is not an ONNX file, or it names a file outside of its folder.
        """
        identity = file_identity(path)
        if identity is None or path.is_dir():
            raise ModelError(f"there is no file {path}, which should be an ONNX file; check the task's path")
        return _read(path, identity)

    def check_data(self) -> None:
        """Raise ModelError if a file that holds weights is not there."""
        for name in self.data_files:
            if not (self.path.parent / name).is_file():
                raise ModelError(
                    f"{self.path} keeps weights in {name!r}, and there is no such file next to it; copy both files "
                    f"together"
                )


@lru_cache(maxsize=64)
def _read(path: Path, identity: FileIdentity) -> OnnxFile:  # noqa: ARG001  (a part of the cache's key)
    found = _Contents()
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            for number, _, start, stop in fields_of(file, 0, end):
                if number == _MODEL["graph"]:
                    found.add_graph(file, start, stop, top=True)
                elif number == _MODEL["function"]:
                    found.add_nodes(file, start, stop, of=7)
                elif number == _MODEL["opset"]:
                    values = values_of(file, start, stop)
                    found.opsets.append(f"{text_of(file, values.get(1)) or 'ai.onnx'} {values.get(2, 0)}")
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{path} is not an ONNX file: {error or 'it cannot be read'}. Export the network again with "
            f"torch.onnx.export, and copy the whole file"
        ) from None
    if not found.outputs:
        raise ModelError(
            f"{path} is not an ONNX file, as it holds no graph with outputs. Export the network again with "
            f"torch.onnx.export, and copy the whole file"
        )
    for name in found.data_files:
        _check_inside(path, name)
    held = found.initializers
    return OnnxFile(
        path=path,
        inputs=tuple(value for value in found.inputs if value.name not in held),
        outputs=tuple(found.outputs),
        opsets=tuple(found.opsets),
        parameters=found.parameters,
        data_files=tuple(sorted(found.data_files)),
    )


def _check_inside(path: Path, name: str) -> None:
    """Raise ModelError if the name of a file with weights may lead out of the folder. What is no name of a file there
    (onnxruntime also takes the addresses of memory for names) is then missing."""
    paths = (PurePosixPath(name), PureWindowsPath(name))
    if not name or "\0" in name or any(one.is_absolute() or one.drive or ".." in one.parts for one in paths):
        raise ModelError(
            f"{path} keeps weights in {name!r}, which does not lie in its folder. Such a file is not opened: save the model "
            f"again with its data next to it"
        )


class _Contents:
    """What is collected from the messages of a file."""

    def __init__(self) -> None:
        self.inputs: list[OnnxValue] = []
        self.outputs: list[OnnxValue] = []
        self.opsets: list[str] = []
        self.initializers: set[str] = set()
        self.data_files: set[str] = set()
        self.parameters = 0

    def add_graph(self, file: BinaryIO, start: int, stop: int, *, top: bool = False, depth: int = 0) -> None:
        if depth > _MAX_DEPTH:
            raise ValueError(f"its graphs are nested more than {_MAX_DEPTH} deep")
        for number, _, begin, end in fields_of(file, start, stop):
            if number == _GRAPH["node"]:
                self._add_node(file, begin, end, depth)
            elif number == _GRAPH["initializer"]:
                self._add_tensor(file, begin, end, top=top)
            elif number == _GRAPH["sparse"]:
                self._add_sparse(file, begin, end)
            elif top and number in (_GRAPH["input"], _GRAPH["output"]):
                listed = self.inputs if number == _GRAPH["input"] else self.outputs
                listed.append(_value(file, begin, end))

    def add_nodes(self, file: BinaryIO, start: int, stop: int, *, of: int) -> None:
        """Add the nodes of a function, which are its field `of`."""
        for number, _, begin, end in fields_of(file, start, stop):
            if number == of:
                self._add_node(file, begin, end, 0)

    def _add_node(self, file: BinaryIO, start: int, stop: int, depth: int) -> None:
        for number, _, begin, end in fields_of(file, start, stop):
            if number == 5:  # an attribute
                self._add_attribute(file, begin, end, depth)

    def _add_attribute(self, file: BinaryIO, start: int, stop: int, depth: int) -> None:
        for number, _, begin, end in fields_of(file, start, stop):
            if number in _ATTRIBUTE_TENSORS:
                self._add_tensor(file, begin, end)
            elif number in _ATTRIBUTE_GRAPHS:
                self.add_graph(file, begin, end, depth=depth + 1)
            elif number in _ATTRIBUTE_SPARSE:
                self._add_sparse(file, begin, end)

    def _add_sparse(self, file: BinaryIO, start: int, stop: int) -> None:
        for number, _, begin, end in fields_of(file, start, stop):
            if number in (1, 2):  # values and indices
                self._add_tensor(file, begin, end)

    def _add_tensor(self, file: BinaryIO, start: int, stop: int, *, top: bool = False) -> None:
        sizes: list[int] = []
        for number, value, begin, end in fields_of(file, start, stop):
            if number == 1:  # dims, one by one or packed
                sizes += [value] if value is not None else packed_of(file, begin, end)
            elif number == 8 and top:
                self.initializers.add(text_of(file, (begin, end)))
            elif number == 13:  # external_data: pairs of key and value
                pair = values_of(file, begin, end)
                if text_of(file, pair.get(1)) == "location":
                    self.data_files.add(text_of(file, pair.get(2)))
        if top:
            self.parameters += prod(sizes)


def _value(file: BinaryIO, start: int, stop: int) -> OnnxValue:
    values = values_of(file, start, stop)
    of_type = inner_of(file, values.get(2))
    tensor = inner_of(file, of_type.get(1))
    code = tensor.get(1)
    dtype = _TYPES.get(code, f"type {code}") if isinstance(code, int) else None
    shape = None
    if isinstance(place := tensor.get(2), tuple):
        dims = [inner_of(file, (begin, end)) for number, _, begin, end in fields_of(file, *place) if number == 1]
        shape = tuple(size if isinstance(size := dim.get(1), int) else text_of(file, dim.get(2)) or "?" for dim in dims)
    return OnnxValue(text_of(file, values.get(1)), dtype, shape)

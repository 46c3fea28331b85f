"""What a file of weights says about its network without being run: what a declaration has to add, and what it can tell
its reader."""

import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from sparktorch_assets.errors import ModelError
from sparktorch_assets.orchestration.components.scaffold.yaml_text import listed
from sparktorch_assets.tasks.files.onnx.onnx_file import OnnxFile, OnnxValue

_SHOWN_TENSORS = 6
_MAX_LABELS = 50
_LAST = re.compile(r"(^|[._])(classifier|fc|head|logits|out|output|score)(?![a-z])")
"""What the last layers of networks are called."""
_PICKLE = b"\x80"
_NAME_NETWORK = (
    "Such a file holds no network: replace architecture and arguments by the import path of the torch.nn.Module that takes "
    "the tensors, and its keyword arguments. Loading the declaration does not import it."
)
_TRUST = "Such a file can run code when it is opened. If you made it yourself, or trust whoever did:"


@dataclass(frozen=True, kw_only=True, slots=True)
class FileFacts:
    """What is known of a file."""

    about: str
    """What it is."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """What the task's `model` has to say in addition to the path."""
    feature: Mapping[str, Any] = field(default_factory=lambda: {"kind": "numeric"})
    """The feature that the network reads, without its columns."""
    notes: Sequence[str] = ()
    """What is worth knowing about the model, a paragraph each."""
    labels: Sequence[str] = ("no", "yes")
    """Labels, to be replaced; if there are none, the network seems to give a single number."""
    trust: str = ""
    """Why the file is not opened before the task says that it may be."""


def facts_of(path: Path) -> FileFacts:
    """Look at the file, without running code from it.

    Raises:
        ModelError: it is no file of a known format.
    """
    look = _BY_SUFFIX.get(path.suffix)
    if look is None:
        raise ModelError(
            f"{path} is no model that is known by its ending: {listed(sorted(_BY_SUFFIX))}, or a folder that save_pretrained "
            f"has written. For other formats, scaffold without --model, and name a factory"
        )
    return look(path)


def _safetensors(path: Path) -> FileFacts:
    try:
        with safe_open(path, "np") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} is not a file of safetensors ({error}); copy the whole file, or write it again"
        ) from None
    if not shapes:
        raise ModelError(f"{path} holds no tensors; write it again with safetensors.torch.save_file")
    names = sorted(shapes, key=_by_place)
    last = listed(f"{name} {shapes[name]}" for name in names[-_SHOWN_TENSORS:])
    logits, inputs = next((shapes[name] for name in reversed(names) if len(shapes[name]) == 2), (2, 2))
    return FileFacts(
        about=f"file of safetensors with {len(shapes):,} tensors",
        model=_linear(inputs, logits),
        notes=(f"Its last tensors, by name: {last}", _NAME_NETWORK),
        labels=_labels(logits),
    )


def _linear(inputs: int, outputs: int) -> dict[str, Any]:
    """A network that stands for one that is not known."""
    return {"architecture": "torch.nn:Linear", "arguments": {"in_features": inputs, "out_features": outputs}}


def _by_place(name: str) -> tuple[bool, list[tuple[int, str]]]:
    """A sort key: `layers.10` comes after `layers.9`, and what is called a head after everything."""
    parts = [part for part in re.split(r"(\d+)|\.", name) if part]
    numbered = [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
    return bool(_LAST.search(name)), numbered


def _checkpoint(path: Path) -> FileFacts:
    entries = _entries(path)
    if any("/code/" in entry for entry in entries):  # torch.jit.save
        return _program("TorchScript program", {"format": "torchscript"})
    if not entries and not _begins_with(path, _PICKLE):
        raise ModelError(f"{path} is not a checkpoint of torch.save; copy the whole file, or write it again")
    return FileFacts(
        about="state dict of torch.save, whose tensors are not listed without opening the pickle in it",
        model=_linear(2, 2),
        notes=(_NAME_NETWORK,),
    )


def _export(path: Path) -> FileFacts:
    entries = _zip_entries(path, "torch.export.save")
    if any("/aotinductor/" in entry for entry in entries):
        return _program("AOTInductor package", {"format": "aotinductor"})
    return _program("torch.export program", {})


def _torchscript(path: Path) -> FileFacts:
    _zip_entries(path, "torch.jit.save")
    return _program("TorchScript program", {})


def _onnx(path: Path) -> FileFacts:
    file = OnnxFile.of(path)
    file.check_data()
    shape = file.outputs[0].shape or ()
    logits = shape[1] if len(shape) == 2 else None
    return FileFacts(
        about=f"ONNX file with {file.parameters:,} parameters",
        feature=_feature_of(file.inputs),
        notes=(
            f"It takes {'; '.join(map(str, file.inputs))}.",
            f"It returns {'; '.join(map(str, file.outputs))}.",
        ),
        labels=_labels(logits) if isinstance(logits, int) else ("no", "yes"),
    )


def _feature_of(inputs: Sequence[OnnxValue]) -> dict[str, Any]:
    """The feature that gives such inputs, as far as their names and shapes tell it."""
    if any(value.name == "input_ids" for value in inputs):
        return {"kind": "text"}
    shape = inputs[0].shape or ()
    if len(inputs) == 1 and len(shape) == 4 and shape[1] in (1, 3) and all(isinstance(size, int) for size in shape[2:]):
        return {"kind": "image", "height": shape[2], "width": shape[3], "channels": shape[1]}
    return {"kind": "numeric"}


def _labels(logits: int) -> tuple[str, ...]:
    """Labels for so many logits; none for a single number."""
    if logits == 1:
        return ()
    return tuple(map(str, range(logits))) if 2 < logits <= _MAX_LABELS else ("no", "yes")


def _program(what: str, model: Mapping[str, Any]) -> FileFacts:
    return FileFacts(about=what, model=model, trust=_TRUST)


def _zip_entries(path: Path, writer: str) -> list[str]:
    entries = _entries(path)
    if not entries:
        raise ModelError(f"{path} was not written by {writer}, which makes an archive; copy the whole file")
    return entries


def _entries(path: Path) -> list[str]:
    """The names in a ZIP archive; none if the file is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return []


def _begins_with(path: Path, start: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(start)) == start


_BY_SUFFIX: Mapping[str, Callable[[Path], FileFacts]] = {
    ".safetensors": _safetensors,
    ".pth": _checkpoint,
    ".pt": _checkpoint,
    ".bin": _checkpoint,
    ".pt2": _export,
    ".onnx": _onnx,
    ".ts": _torchscript,
    ".torchscript": _torchscript,
}

"""Where a model comes from: its weights file, how to read it, and the code that gives it its shape."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.import_path import check_import_path
from sparktorch_assets.tasks.plain import freeze

ModelFormat = Literal["safetensors", "state_dict", "torchscript", "export", "pickle", "factory"]

_BY_SUFFIX: dict[str, ModelFormat] = {
    ".safetensors": "safetensors",
    ".pth": "state_dict",
    ".pt": "state_dict",
    ".bin": "state_dict",
    ".ts": "torchscript",
    ".torchscript": "torchscript",
    ".pt2": "export",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """One model. Give `weights` (a file), or `factory` (code that builds the model, with or without a file)."""

    weights: str | None = None
    """Path of the weights file, absolute or under the models root."""
    format: ModelFormat | None = None
    """How to read the file; `None` infers it from the suffix (`.pt`, `.pth`, `.bin`: a state dict)."""
    architecture: str | None = None
    """Import path of what builds the `torch.nn.Module` that a state dict fills."""
    arguments: Mapping[str, Any] | Sequence[Any] = ()
    """Keyword arguments of the architecture or the factory."""
    factory: str | None = None
    """Import path of a callable `(weights_path, device, **arguments)` that returns a `torch.nn.Module`, or any object
    with `predict(rows)`."""
    sha256: str | None = None
    """The weights file's expected digest; a file that differs is refused."""
    trust_pickle: bool = False
    """Allow `format: pickle`. Unpickling runs whatever code the file holds: only for files that you made yourself."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "arguments", freeze(self.arguments))
        if self.factory is not None:
            check_import_path(self.factory, "ModelSpec.factory")
            if self.format not in (None, "factory"):
                raise TaskError(f"ModelSpec: factory and format={self.format!r} exclude each other; drop one")
            object.__setattr__(self, "format", "factory")
        elif self.weights is None:
            raise TaskError("ModelSpec names neither weights nor factory; give the weights file's path")
        if self.format is None:
            suffix = PurePath(self.weights or "").suffix
            if suffix not in _BY_SUFFIX:
                raise TaskError(
                    f"ModelSpec.weights={self.weights!r}: the suffix {suffix!r} does not tell the format; set "
                    f"ModelSpec.format to one of safetensors, state_dict, torchscript, export, pickle"
                )
            object.__setattr__(self, "format", _BY_SUFFIX[suffix])
        if self.architecture is not None:
            check_import_path(self.architecture, "ModelSpec.architecture")
        if self.format in ("safetensors", "state_dict") and self.architecture is None:
            raise TaskError(
                f"ModelSpec.weights={self.weights!r} is a state dict, which holds numbers but no network; set "
                f"ModelSpec.architecture to the import path of its torch.nn.Module"
            )
        if self.format == "pickle" and not self.trust_pickle:
            raise TaskError(
                f"ModelSpec.weights={self.weights!r} is a full pickle, and loading one runs the code inside it. Save "
                f"model.state_dict() as safetensors instead, or set trust_pickle: true if you made the file yourself"
            )
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise TaskError(f"ModelSpec.sha256={self.sha256!r} is not 64 lower-case hexadecimal digits")

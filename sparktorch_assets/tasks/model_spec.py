"""Declares where a model comes from: its weights file, the file's format, and the code that builds the network."""

import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.code.import_path import check_import_path
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.validation import freeze, names

ModelFormat = Literal[
    "safetensors",
    "state_dict",
    "torchscript",
    "export",
    "aotinductor",
    "onnx",
    "pickle",
    "huggingface",
    "mlflow",
    "factory",
]

_BY_SUFFIX: dict[str, ModelFormat] = {
    ".safetensors": "safetensors",
    ".pth": "state_dict",
    ".pt": "state_dict",
    ".bin": "state_dict",
    ".ts": "torchscript",
    ".torchscript": "torchscript",
    ".pt2": "export",
    ".onnx": "onnx",
}

_FILE_FORMATS = "safetensors, state_dict, torchscript, export, aotinductor, onnx, pickle"
_NEEDS_TRANSFORMERS = (
    "is a Hugging Face folder, which takes the package transformers, and that is not installed here; run "
    "pip install 'sparktorch-assets[huggingface]', here and on every worker"
)
_NEEDS_MLFLOW = (
    "is an MLflow model, which takes the package mlflow-skinny (or mlflow), and that is not installed here; run pip install "
    "'sparktorch-assets[mlflow]', here and on every worker"
)
_REGISTERED = re.compile(r"models:/(?:[^/@:]+(?:@[^/@:]+|/\d+|/latest)|m-[^/@:]+)")
_OF_RUN = re.compile(r"runs:/[^/:]+/[^:]+")
_NEEDS_ONNXRUNTIME = (
    "is an ONNX file, which takes the package onnxruntime, and that is not installed here; run pip install "
    "'sparktorch-assets[onnx]', here and on every worker"
)
_COMPLETE = {
    "onnx": "an ONNX file, which holds the whole network",
    "aotinductor": "an AOTInductor package, which holds the whole network",
}
"""Files of formats for which no code builds the network."""
_CODE = {
    "aotinductor": "an AOTInductor package is a compiled program, which can do anything when it loads",
    "export": "a torch.export program can run any code when it loads, in its pickled inputs and its symbolic expressions",
    "torchscript": "a TorchScript program can run code when it loads, which reads and writes files",
    "pickle": "a full pickle can call any function when it loads",
    "mlflow": "most flavors of an MLflow model can run code when they load",
}
"""What files of the formats that are programs can do. Files of the other formats contain only tensors."""


@dataclass(frozen=True, kw_only=True, slots=True, weakref_slot=True)
class ModelSpec:
    """One model. Give `weights` (a file), or `factory` (code that builds the model, with or without a file)."""

    weights: str | PurePath | None = None
    """Path of the weights file, absolute or under the models root; or of a Hugging Face or sentence-transformers folder;
    or, with a `factory`, of any folder. Or the address of an MLflow model: `models:/name@alias`, `models:/name/3`,
    `models:/name/latest`, or `runs:/<run id>/model`."""
    format: ModelFormat | None = None
    """The format of the file; `None` infers it from the suffix (`.pt`, `.pth`, `.bin`: a state dict; `.pt2`: `export`). A
    path without a suffix is a folder that `save_pretrained` has written (`huggingface`), and `models:/` and `runs:/` are
    addresses of MLflow models; `mlflow` also stands for a local folder with an `MLmodel`. A `.pt2` that
    `aoti_compile_and_package` has written has to say `aotinductor`."""
    architecture: str | None = None
    """Import path of the class or function that builds the `torch.nn.Module` for a state dict."""
    arguments: Mapping[str, Any] | Sequence[tuple[str, Any]] = ()
    """Keyword arguments of the architecture or the factory."""
    factory: str | None = None
    """Import path of a callable `(weights_path, device, **arguments)` that returns a `torch.nn.Module`, or any object
    with `predict(rows)`."""
    files: Sequence[str | PurePath] = ()
    """Other files or folders under the models root that the factory or the architecture reads. Their contents are part
    of the model's digest, so that the table is scored again when one changes."""
    sha256: str | None = None
    """The expected digest of the weights; weights that differ are refused. For an ONNX file, it includes the files that
    hold its weights."""
    trust_code: bool = False
    """Open files that can run code: `export`, `aotinductor`, `torchscript` and `pickle` weights, and whatever a factory, an
    architecture or an encoder is given as weights, in `files` or by name in `arguments`. Weights whose content `sha256`
    pins do not need it. Set it for files that you made yourself, or whose maker you trust."""

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "arguments", freeze(self.arguments, "ModelSpec.arguments"))
        names(map(str, self.files), "ModelSpec.files", empty=True)
        if self.weights is not None:
            names((str(self.weights),), "ModelSpec.weights")
        if self.factory is not None:
            check_import_path(self.factory, "ModelSpec.factory")
            if self.format not in (None, "factory"):
                raise TaskError(f"ModelSpec: factory and format={self.format!r} exclude each other; drop one")
            object.__setattr__(self, "format", "factory")
        elif self.weights is None:
            raise TaskError("ModelSpec names neither weights nor factory; give the weights file's path")
        elif self.format == "factory":
            raise TaskError(
                "ModelSpec.format='factory' opens weights with your own code, and no factory is named; set "
                "ModelSpec.factory to its import path, or leave the format out"
            )
        if self.format is None:
            object.__setattr__(self, "format", self._format_of_path())
        if self.format == "huggingface":
            self._check_huggingface()
        if self.format == "mlflow" or self.registered:
            self._check_mlflow()
        if self.format in _COMPLETE:
            self._check_complete()
        if self.architecture is not None:
            check_import_path(self.architecture, "ModelSpec.architecture")
        if self.format in ("safetensors", "state_dict") and self.architecture is None:
            raise TaskError(
                f"ModelSpec.weights={self.weights!r} is a state dict, which holds numbers but no network; set "
                f"ModelSpec.architecture to the import path of its torch.nn.Module"
            )
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise TaskError(f"ModelSpec.sha256={self.sha256!r} is not 64 lower-case hexadecimal digits")
        if self.sha256 is not None and self.weights is None:
            raise TaskError("ModelSpec.sha256 is the digest of the weights, and no weights are named; drop it")

    @property
    def registered(self) -> bool:
        """Whether the weights are an address of MLflow's, which its server resolves."""
        return str(self.weights or "").startswith(("models:", "runs:"))

    def _format_of_path(self) -> ModelFormat:
        if self.registered:
            return "mlflow"
        suffix = PurePath(self.weights or "").suffix
        if not suffix and self.architecture is None:
            return "huggingface"
        if not suffix:
            raise TaskError(
                f"ModelSpec.weights={self.weights!r} has no suffix that says what the format is. If it is a folder, "
                f"name the file in it, or set ModelSpec.factory to code that takes the folder; if it is a file, set "
                f"ModelSpec.format to one of {_FILE_FORMATS}"
            )
        if suffix not in _BY_SUFFIX:
            raise TaskError(
                f"ModelSpec.weights={self.weights!r}: the suffix {suffix!r} does not say what the format is; set "
                f"ModelSpec.format to one of {_FILE_FORMATS} (or huggingface or mlflow, a folder), or ModelSpec.factory to code that opens another format"
            )
        return _BY_SUFFIX[suffix]

    def _refuse_network(self, weights: str, way_out: str = "") -> None:
        """Raise TaskError if the network is named although the weights, which are what the text says, know it."""
        for field in ("architecture", "arguments"):
            if getattr(self, field):
                raise TaskError(
                    f"ModelSpec.{field} is given, but weights={str(self.weights)!r} is {weights}; drop {field}{way_out}"
                )

    def _check_huggingface(self) -> None:
        self._refuse_network(
            "a Hugging Face folder, whose config.json says which network it holds",
            ", or set ModelSpec.factory to code that takes the folder",
        )
        if importlib.util.find_spec("transformers") is None:
            raise TaskError(
                f"ModelSpec.weights={self.weights!r} {_NEEDS_TRANSFORMERS}. If it is a file, set ModelSpec.format to one "
                f"of {_FILE_FORMATS}; if it is a folder of another kind, set ModelSpec.factory to code that takes it"
            )

    def _check_mlflow(self) -> None:
        address = str(self.weights)
        if self.format != "mlflow":
            raise TaskError(
                f"ModelSpec.weights={address!r} is an MLflow address, and what is there says its own format; drop "
                f"{'factory' if self.factory else f'format={self.format!r}'}"
            )
        if self.registered and not (_REGISTERED.fullmatch(address) or _OF_RUN.fullmatch(address)):
            raise TaskError(
                f"ModelSpec.weights={address!r} is no address of an MLflow model; write models:/name@alias, models:/name/3, "
                f"models:/name/latest, models:/m-<model id> or runs:/<run id>/<path>. Stages, such as Production, are no longer "
                f"part of MLflow: give the version an alias"
            )
        self._refuse_network("an MLflow model, which says itself how it is loaded")
        if importlib.util.find_spec("mlflow") is None:
            raise TaskError(f"ModelSpec.weights={address!r} {_NEEDS_MLFLOW}")

    def _check_complete(self) -> None:
        self._refuse_network(_COMPLETE[str(self.format)])
        if self.format == "onnx" and importlib.util.find_spec("onnxruntime") is None:
            raise TaskError(f"ModelSpec.weights={self.weights!r} {_NEEDS_ONNXRUNTIME}")

    @property
    def compiled(self) -> bool:
        """Whether the weights are a network that is not run by torch's own operators, so that its precision and its
        kernels are those of the file."""
        return self.format in _COMPLETE

    @property
    def code_in_weights(self) -> str | None:
        """What opening the weights can do besides reading numbers; `None` if they contain nothing but numbers."""
        if self.factory is not None:
            return (
                f"factory {self.factory!r} opens it, and most formats of a factory's choice can run code when they load"
            )
        return _CODE.get(str(self.format))

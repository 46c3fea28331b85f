"""A Dense module of a sentence-transformers folder: a linear layer and an activation, applied to pooled vectors."""

from dataclasses import dataclass
from pathlib import Path

from sparktorch_assets.errors import ModelError
from sparktorch_assets.tasks.files.folders.folder_json import read_settings

_ACTIVATIONS = ("GELU", "Identity", "ReLU", "Sigmoid", "Tanh")
"""Classes of torch.nn. Others could be any code, since the folder names them by import path."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseLayer:
    """What the settings of one Dense module say."""

    weights: Path
    """Its safetensors file."""
    in_features: int
    out_features: int
    bias: bool
    activation: str
    """The name of a class of torch.nn."""

    @classmethod
    def of_folder(cls, path: Path) -> "DenseLayer":
        """Read `config.json` of the module's folder.

        Raises:
            ModelError: the settings are incomplete, the module does more than a linear layer and a known activation do,
                or its weights are not safetensors.
        """
        file, weights = path / "config.json", path / "model.safetensors"
        given = read_settings(file)
        sizes = [given.get(name) for name in ("in_features", "out_features")]
        if not all(isinstance(size, int) and size > 0 for size in sizes):
            raise ModelError(f"{file} names no in_features and out_features; copy the whole folder")
        module, _, activation = str(given.get("activation_function", "torch.nn.Tanh")).rpartition(".")
        if not (module == "torch.nn" or module.startswith("torch.nn.modules.")) or activation not in _ACTIVATIONS:
            raise ModelError(
                f"{file} names the activation {given['activation_function']!r}; known here are "
                f"{', '.join(_ACTIVATIONS)} of torch.nn. Name a factory that loads the folder with sentence_transformers"
            )
        names = {
            given.get("module_input_name", "sentence_embedding"),
            given.get("module_output_name", "sentence_embedding"),
        }
        if given.get("use_residual") or names - {"sentence_embedding", None}:
            raise ModelError(
                f"{file}: only a layer from the pooled vector to the next one is known here, without a residual. Name a "
                f"factory that loads the folder with sentence_transformers"
            )
        if not weights.is_file():
            raise ModelError(
                f"there is no file {weights}: the layer's weights have to be safetensors, so load the folder with "
                f"sentence_transformers and write it with save_pretrained"
            )
        return cls(
            weights=weights,
            in_features=int(given["in_features"]),
            out_features=int(given["out_features"]),
            bias=bool(given.get("bias", True)),
            activation=activation,
        )

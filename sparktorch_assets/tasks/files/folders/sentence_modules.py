"""The modules of a sentence-transformers folder: a transformer, its pooling and, possibly, dense layers and a
normalization."""

import re
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from sparktorch_assets.errors import ModelError
from sparktorch_assets.tasks.files.folders.dense_layer import DenseLayer
from sparktorch_assets.tasks.files.folders.folder_json import read_json, read_settings
from sparktorch_assets.tasks.outputs import EmbeddingOutput

_KNOWN = re.compile(r"Transformer Pooling( Dense)*( Normalize)?")
_POOLINGS: dict[str, Literal["cls", "mean"]] = {
    "cls": "cls",
    "mean": "mean",
    "cls_token": "cls",  # as written before version 6: pooling_mode_cls_token
    "mean_tokens": "mean",
}


class SentenceModules:
    """What `modules.json` lists.

    Args:
        path: the folder.

    Raises:
        ModelError: the modules are others than those that are known here, or in another order.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        found = read_json(path / "modules.json")
        listed = [module for module in found if isinstance(module, dict)] if isinstance(found, list) else []
        kinds = [str(module.get("type")) for module in listed]
        names = [kind.rsplit(".", 1)[-1] for kind in kinds]
        foreign = any(not kind.startswith("sentence_transformers.") for kind in kinds)
        if foreign or not _KNOWN.fullmatch(" ".join(names)):
            raise ModelError(
                f"{path} consists of {', '.join(kinds) or 'no modules'}; known here are a Transformer with Pooling and, "
                f"possibly, Dense and Normalize. Name a factory that loads the folder with sentence_transformers"
            )
        paths = [str(module.get("path", "")) for module in listed]
        self._network, self._pooling = paths[:2]
        self._dense = [path for name, path in zip(names, paths, strict=True) if name == "Dense"]
        self._normalizes = names[-1] == "Normalize"

    @property
    def network(self) -> Path:
        """The folder of the transformer."""
        return self._inside(self._network)

    @cached_property
    def dense(self) -> tuple[DenseLayer, ...]:
        """The layers that follow the pooling.

        Raises:
            ModelError: the settings of a layer are not known here.
        """
        return tuple(DenseLayer.of_folder(self._inside(path)) for path in self._dense)

    @property
    def pooling(self) -> Literal["cls", "mean"]:
        """How the vectors of tokens become one.

        Raises:
            ModelError: in another way than `cls` or `mean`.
        """
        given = self._settings.get("pooling_mode")
        modes = [given] if isinstance(given, str) else list(given or ())
        flags = self._settings.items()
        modes += [name.removeprefix("pooling_mode_") for name, on in flags if on is True and "_mode_" in name]
        if len(modes) != 1 or modes[0] not in _POOLINGS:
            raise ModelError(
                f"{self._path}: its pooling is {', '.join(map(str, modes)) or 'not named'}; cls and mean are known here, "
                f"one of them at a time. Name a factory that loads the folder with sentence_transformers"
            )
        return _POOLINGS[modes[0]]

    @property
    def pools_prompt(self) -> bool:
        """Whether the tokens of a prompt are pooled like those of the text."""
        return self._settings.get("include_prompt", True) is not False

    @property
    def output(self) -> EmbeddingOutput:
        """What is made of the vectors of the tokens. With dense layers, the network itself pools, as they come after it.

        Raises:
            ModelError: the pooling is another than `cls` or `mean`, its settings name no dimension, or the settings of a
                dense layer are not known here.
        """
        pooling = self.pooling
        if self.dense:
            return EmbeddingOutput(length=self.dense[-1].out_features, normalize=self._normalizes)
        length = self._settings.get("embedding_dimension", self._settings.get("word_embedding_dimension"))
        if not isinstance(length, int):
            raise ModelError(f"{self._path}: the settings of its pooling name no dimension; declare the task's output")
        return EmbeddingOutput(length=length, pooling=pooling, normalize=self._normalizes)

    @cached_property
    def _settings(self) -> dict[str, Any]:
        return read_settings(self._inside(self._pooling) / "config.json")

    def _inside(self, name: str) -> Path:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise ModelError(f"{self._path / 'modules.json'} names {name!r}, which lies outside of the folder")
        return self._path / path

"""The modules of a sentence-transformers folder: a transformer, its pooling and, possibly, a normalization."""

from pathlib import Path, PurePosixPath
from typing import Literal

from sparktorch_assets.errors import ModelError
from sparktorch_assets.tasks.files.folder_json import read_json, read_settings
from sparktorch_assets.tasks.outputs import EmbeddingOutput

_KNOWN = ("Transformer", "Pooling", "Normalize")
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
        if foreign or names not in (list(_KNOWN), list(_KNOWN[:2])):
            raise ModelError(
                f"{path} consists of {', '.join(kinds) or 'no modules'}; known here are a Transformer with Pooling and, "
                f"possibly, Normalize. Name a factory that loads the folder with sentence_transformers"
            )
        self._folders = {name: str(module.get("path", "")) for name, module in zip(names, listed, strict=True)}

    @property
    def network(self) -> Path:
        """The folder of the transformer."""
        return self._inside(self._folders["Transformer"])

    @property
    def output(self) -> EmbeddingOutput:
        """What pooling and normalization make of the vectors of the tokens.

        Raises:
            ModelError: the pooling is another than `cls` or `mean`, or its settings name no dimension.
        """
        pooling = read_settings(self._inside(self._folders["Pooling"]) / "config.json")
        given = pooling.get("pooling_mode")
        modes = [given] if isinstance(given, str) else list(given or ())
        modes += [name.removeprefix("pooling_mode_") for name, on in pooling.items() if on is True and "_mode_" in name]
        if len(modes) != 1 or modes[0] not in _POOLINGS:
            raise ModelError(
                f"{self._path}: its pooling is {', '.join(map(str, modes)) or 'not named'}; cls and mean are known here, "
                f"one of them at a time. Name a factory that loads the folder with sentence_transformers"
            )
        length = pooling.get("embedding_dimension", pooling.get("word_embedding_dimension"))
        if not isinstance(length, int):
            raise ModelError(f"{self._path}: the settings of its pooling name no dimension; declare the task's output")
        return EmbeddingOutput(length=length, pooling=_POOLINGS[modes[0]], normalize="Normalize" in self._folders)

    def _inside(self, name: str) -> Path:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise ModelError(f"{self._path / 'modules.json'} names {name!r}, which lies outside of the folder")
        return self._path / path

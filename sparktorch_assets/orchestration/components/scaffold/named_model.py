"""Finds the model that somebody names on the command line."""

import os
from dataclasses import dataclass
from pathlib import Path

from sparktorch_assets.errors import ModelError, nearest

_ADDRESSES = ("models:/", "runs:/")
"""What addresses of MLflow models begin with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedModel:
    """A file or a folder."""

    path: Path
    """Its absolute path."""
    weights: str
    """The path that a task names: relative to the models root if it lies there, else absolute."""
    models_root: Path

    @property
    def outside(self) -> bool:
        """Whether it lies outside of the models root."""
        return Path(self.weights).is_absolute()


def is_address(given: str) -> bool:
    """Whether a registry has to be asked for what the name means."""
    return given.startswith(_ADDRESSES)


def find_model(given: str, project_root: Path, models_root: Path) -> NamedModel:
    """The file or folder of that path, which may be relative to the working directory, to the project's root or to the
    models root.

    Raises:
        ModelError: there is none; the message names those with a similar name.
    """
    places = [*dict.fromkeys((Path.cwd(), project_root, models_root))]
    for place in places:
        path = Path(os.path.abspath(place / Path(given).expanduser()))  # noqa: PTH100  (resolve would follow links)
        if path.exists():
            root = Path(os.path.abspath(models_root))  # noqa: PTH100
            inside = path.is_relative_to(root) and path != root
            weights = path.relative_to(root).as_posix() if inside else path.as_posix()
            return NamedModel(path=path, weights=weights, models_root=root)
    parents = [(place / Path(given).expanduser()).parent for place in places]
    beside = {found.name for parent in parents if parent.is_dir() for found in parent.iterdir()}
    visible = [name for name in beside if not name.startswith((".", "_"))]
    raise ModelError(
        f"there is no model {given!r} in {' or '.join(map(str, places))}; {nearest(Path(given).name, visible)}. Give the "
        f"path of a folder or of a file, or an address such as models:/name@alias"
    )

"""A models root of links: the files of an MLflow model, next to the other files that its task names."""

from collections.abc import Mapping
from pathlib import Path

from sparktorch_assets.stores.cache import key_of, published


def linked_root(cache: Path, links: Mapping[str, Path]) -> Path:
    """A folder with these links: name -> the file or folder that it leads to. Equal links give the same folder.

    No name may be below another one: that would be a link in the folder that the other one leads to.
    """
    wanted = sorted((name, str(path)) for name, path in links.items())

    def make(folder: Path) -> None:
        for name, path in wanted:
            at = folder / name
            at.parent.mkdir(parents=True, exist_ok=True)
            at.symlink_to(path)

    return published(cache / "roots", key_of(*(text for pair in wanted for text in pair)), make)

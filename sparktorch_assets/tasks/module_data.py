"""Data files beside a user's code that the code names: a lookup table or a list of words decides about answers as a
statement does.

Which files code will open, only running it would tell. A file counts where it lies in the module's folder, or in one above
it up to where imports start, and a string in the module names it (`words.json`, `*.json`); likewise in folders that strings
name. Of a folder inside a package that a string names, all files count.
"""

import hashlib
import os
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources.abc import Traversable
from pathlib import Path

from sparktorch_assets.tasks.file_identity import FileIdentity, file_identity
from sparktorch_assets.tasks.module_finder import ModuleFinder, folders_of, has_code

_CODE = (".py", ".pyw", ".pyc", ".so", ".pyd")


def open_folder(path: str) -> Traversable | None:
    """The folder, which may lie in a zip archive (`code.zip/package`); `None` where there is none."""
    if Path(path).is_dir():
        return Path(path)
    archive = next((above for above in Path(path).parents if above.is_file()), Path(path))
    if not zipfile.is_zipfile(archive):
        return None
    inner = Path(path).relative_to(archive).as_posix()
    return zipfile.Path(archive, "" if inner == "." else f"{inner}/")


def data_digest(module: str, words: frozenset[str], finder: ModuleFinder) -> str | None:
    """A hash of the names and contents of the files beside `module` that `words` name; `None` where there are none.

    Args:
        module: one of the user's modules.
        words: the parts of the paths among its strings: see `ModuleSource.words`.
        finder: finds modules.
    """
    digest, found = hashlib.sha256(), False
    for name, file in _named_files(module, words, finder):
        found = True
        digest.update(f"{name}\0{file_digest(file)}\n".encode())
    return digest.hexdigest() if found else None


def file_digest(file: Traversable) -> str:
    """The file's sha256; read again only where its identity has changed, or in an archive."""
    identity = file_identity(file) if isinstance(file, Path) else None
    return hashlib.sha256(file.read_bytes()).hexdigest() if identity is None else _sha256(str(file), identity)


def _named_files(module: str, words: frozenset[str], finder: ModuleFinder) -> Iterator[tuple[str, Traversable]]:
    for level, folder in _folders_around(module, finder):
        opened = open_folder(folder)
        if opened is not None:
            yield from _matching(opened, level, words, in_package=bool(level))


def _folders_around(module: str, finder: ModuleFinder) -> Iterator[tuple[str, str]]:
    """The packages that the module lies in, and the folder that imports start at; each with a name to call it by."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        package = ".".join(parts[:length])
        yield from ((package, folder) for folder in folders_of(finder.find(package)))
    top = finder.find(parts[0])
    for place in folders_of(top) or ([top.origin] if top is not None and has_code(top) and top.origin else []):
        yield "", os.path.dirname(place)  # noqa: PTH120  (compared as text, with what finders give)


def _matching(
    folder: Traversable, name: str, words: frozenset[str] | None, *, in_package: bool
) -> Iterator[tuple[str, Traversable]]:
    """Files below a folder, in a fixed order; without words, all of them."""
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        path = f"{name}/{item.name}"
        if item.name.startswith((".", "__pycache__")):
            continue
        if item.is_dir():
            if words is None or item.name in words:
                yield from _matching(item, path, None if in_package else words, in_package=in_package)
        elif not item.name.endswith(_CODE) and (words is None or _names(words, item.name)):
            yield path, item


def _names(words: frozenset[str], file: str) -> bool:
    return file in words or any(file.endswith(word) for word in words if word.startswith("."))


@lru_cache(maxsize=4096)
def _sha256(path: str, _identity: FileIdentity) -> str:  # the identity is the cache's key
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Data files next to a user's code that the code names: a lookup table or a list of words affects answers as much as a
statement does.

Only running the code would show which files it opens. A file therefore counts if a string in the module names it
(`words.json`, `*.json`) and it lies in the module's folder, in a folder above that up to where imports start, or in a
folder there that strings name. If a string names a folder inside a package, all files in that folder count. Files of
Python code and hidden files are the exception: they count only if strings name them, because code may be run from a
file (`runpy`, `exec`) or loaded from a shared library.
"""

import hashlib
import os
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources.abc import Traversable
from pathlib import Path

from sparktorch_assets.file_identity import FileIdentity, file_identity
from sparktorch_assets.tasks.code.module_finder import ModuleFinder, folders_of, has_code, open_folder
from sparktorch_assets.tasks.code.module_source import read_source

_CODE = (".py", ".pyw", ".pyc", ".so", ".pyd")


def data_digest(module: str, words: frozenset[str], finder: ModuleFinder) -> str | None:
    """A hash of the names and contents of the files around `module` that `words` name; `None` if there are none.

    Args:
        module: one of the user's modules.
        words: the parts of its strings that may name files and folders: see `ModuleSource.words`.
        finder: used to find the module's folders.
    """
    digest, found = hashlib.sha256(), False
    for folder in folders_around(module, finder):
        for name, file in named_files(*folder, words):
            found = True
            digest.update(f"{name}\0{named_digest(file, words)}\n".encode())
    return digest.hexdigest() if found else None


def file_digest(file: Traversable) -> str:
    """The file's sha256. The file is read again only if its identity has changed, or if it is in an archive."""
    identity = file_identity(file) if isinstance(file, Path) else None
    return hashlib.sha256(file.read_bytes()).hexdigest() if identity is None else _sha256(str(file), identity)


def named_digest(file: Traversable, words: frozenset[str]) -> str:
    """The digest of a file that `words` name. If they contain the full name of a Python file, its bytes are hashed,
    since the code may read it as text; if they contain only the ending (`.py`), its syntax tree is, so that comments do
    not count."""
    if file.name.endswith(".py") and file.name not in words:
        identity = file_identity(file) if isinstance(file, Path) else None
        if identity is None:
            return read_source(file.name, file.read_bytes()).digest
        return _syntax_digest(str(file), identity)
    return file_digest(file)


def named_files(level: str, folder: str, words: frozenset[str]) -> Iterator[tuple[str, Traversable]]:
    """The files in a folder that `words` name, each with a name that says where it is: see `folders_around`."""
    opened = open_folder(folder)
    if opened is not None:
        yield from _matching(opened, level, words, in_package=bool(level))


def is_named(level: str, path: str, words: frozenset[str]) -> bool:
    """Whether `words` name the file to which `named_files` gives the name `path`."""
    *folders, file = path.removeprefix(f"{level}/").split("/")
    if not level or not folders:
        return words.issuperset(folders) and _names(words, file)
    return (
        folders[0] in words
        and all(folder in words or _is_plain(folder) for folder in folders)
        and (_is_plain(file) or _names(words, file))
    )


def folders_around(module: str, finder: ModuleFinder) -> Iterator[tuple[str, str]]:
    """Name and folder of each package that contains the module, and of the folder where imports start, whose name is
    empty."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        package = ".".join(parts[:length])
        yield from ((package, folder) for folder in folders_of(finder.find(package)))
    top = finder.find(parts[0])
    for place in folders_of(top) or ([top.origin] if top is not None and has_code(top) and top.origin else []):
        yield "", os.path.dirname(place)  # noqa: PTH120  (compared as text, with what finders give)


def _matching(
    folder: Traversable, name: str, words: frozenset[str], *, in_package: bool, all_data: bool = False
) -> Iterator[tuple[str, Traversable]]:
    """The files below a folder that `words` name, in a fixed order; with `all_data`, all data files as well."""
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        path = f"{name}/{item.name}"
        if item.name.startswith("__pycache__") or (
            item.name.startswith(".") and not in_package and item.name not in words
        ):
            continue  # the folder where imports start has a project's hidden files, such as `.gitlab-ci.yml`
        takes_all = all_data and _is_plain(item.name)
        if item.is_dir():
            if (takes_all or item.name in words) and not _leads_up(item, folder):
                yield from _matching(item, path, words, in_package=in_package, all_data=in_package)
        elif takes_all or _names(words, item.name):
            yield path, item


def _leads_up(item: Traversable, folder: Traversable) -> bool:
    """Whether a folder is a link to a folder above it, so that following it would never end."""
    is_link = isinstance(item, Path) and isinstance(folder, Path) and item.is_symlink()
    return is_link and Path(str(folder)).resolve().is_relative_to(Path(str(item)).resolve())


def _is_plain(name: str) -> bool:
    return not name.startswith(".") and not name.endswith(_CODE)


def _names(words: frozenset[str], file: str) -> bool:
    return file in words or any(file.endswith(word) for word in words if word.startswith("."))


@lru_cache(maxsize=4096)
def _syntax_digest(path: str, _identity: FileIdentity) -> str:  # the identity is the cache's key
    return read_source(path, Path(path).read_bytes()).digest


@lru_cache(maxsize=4096)
def _sha256(path: str, _identity: FileIdentity) -> str:  # the identity is the cache's key
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

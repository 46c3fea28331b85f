"""Finds modules as the import system would, and tells the user's own from installed modules. Nothing is imported."""

import os
import pkgutil
import sys
import zipfile
import zipimport
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from importlib.resources.abc import Traversable
from pathlib import Path, PurePath
from typing import Any

from sparktorch_assets.file_identity import FileIdentity, file_identity

OWN_PACKAGE = __name__.partition(".")[0]
_STANDARD_LIBRARY = os.path.dirname(os.__file__)  # noqa: PTH120  (compared as text, with what finders give)
_SHIPPED_BY_SPARK = ("pyspark", "py4j")
"""Packages that come with Spark, often outside of any folder for installed packages."""

SHIPPED_FOLDER = "sparktorch-code-"
"""Beginning of the name of a folder on a Spark worker with code that the driver has shipped: the user's own code,
wherever the folder is. An executor's files may be in a folder of pyspark's own installation."""

_archives: dict[str, tuple[zipimport.zipimporter, FileIdentity | None]] = {}
"""Archive, or folder in one -> the importer that has read the archive's directory, and the archive's identity then."""


def _only_finds(finder: Any) -> bool:
    """Whether a finder can be asked about any name: setuptools' own exchanges `distutils` when it is asked about `pip`."""
    return hasattr(finder, "find_spec") and type(finder).__module__ != "_distutils_hack"


class ModuleFinder:
    """A view of the modules that can be imported now. Each result is cached, so that repeated look-ups agree."""

    def __init__(self) -> None:
        _forget_listings()
        self._specs: dict[str, ModuleSpec | None] = {}
        self._installed: dict[str, bool] = {}

    def find(self, name: str) -> ModuleSpec | None:
        """The module's spec. Unlike `importlib.util.find_spec`, this does not import the parent packages."""
        if name not in self._specs:
            self._specs[name] = self._find_below(name) if "." in name else self._find_top(name)
        return self._specs[name]

    def _find_top(self, name: str) -> ModuleSpec | None:
        if name == "__main__":
            return None
        specs = (finder.find_spec(name, None) for finder in sys.meta_path if _only_finds(finder))
        return next((spec for spec in specs if spec is not None), None)

    def _find_below(self, name: str) -> ModuleSpec | None:
        portions: list[str] = []
        for folder in folders_of(self.find(name.rpartition(".")[0])):
            # Not PathFinder, which looks up the parent of a namespace package in sys.modules.
            importer: Any = pkgutil.get_importer(folder)
            spec: ModuleSpec | None = None if importer is None else importer.find_spec(name)
            if spec is not None and spec.loader is not None:
                return spec
            portions += folders_of(spec)
        if not portions:
            return None
        namespace = ModuleSpec(name, None, is_package=True)
        namespace.submodule_search_locations = portions
        return namespace

    def modules_below(self, package: str) -> Iterator[str]:
        """All modules of a package, at any depth, including those of nested namespace packages."""
        folders = folders_of(self.find(package))
        names = {found.name for found in pkgutil.iter_modules(folders)}
        names |= {name for folder in folders for name in _plain_folders(folder)}
        above = {os.path.realpath(folder) for name in with_parents(package) for folder in folders_of(self.find(name))}
        for name in sorted(names):
            module = f"{package}.{name}"
            if above.isdisjoint(os.path.realpath(folder) for folder in folders_of(self.find(module))):
                yield module
                yield from self.modules_below(module)

    def modules_beside(self, module: str) -> Iterator[str]:
        """The modules in the folder of a module that is in no package; packages there are left out."""
        spec = self.find(module)
        if spec is not None and spec.origin is not None and has_code(spec) and not folders_of(spec):
            folder = os.path.dirname(spec.origin)  # noqa: PTH120  (compared as text, with what finders give)
            yield from (found.name for found in pkgutil.iter_modules([folder]) if not found.ispkg)

    def outermost(self, module: str) -> str:
        """The outermost regular package that contains the module, or the module itself."""
        return next((name for name in with_parents(module) if has_code(self.find(name))), module)

    def is_users(self, module: str) -> bool:
        """Whether the module can be found, and belongs neither to this library, nor to an installed package, nor to the
        standard library."""
        top = module.partition(".")[0]
        place = _place(self.find(top))
        if is_shipped(place):
            return True
        standard = not place or place.startswith(_STANDARD_LIBRARY + os.sep)
        return top != OWN_PACKAGE and not standard and not self.is_installed(module)

    def is_installed(self, module: str) -> bool:
        """Whether the module is in a folder for installed packages, or was put where it is by an installer, which
        leaves a record: a project may have installed packages next to its own modules."""
        top = module.partition(".")[0]
        if top not in self._installed:
            place = PurePath(_place(self.find(top)))
            self._installed[top] = top in _SHIPPED_BY_SPARK or (
                place != PurePath()
                and not is_shipped(str(place))
                and (bool({"site-packages", "dist-packages"} & set(place.parts)) or _is_recorded(top, place.parent))
            )
        return self._installed[top]


def _forget_listings() -> None:
    """Make finders list their folders again: they cache the listings, and trust modification times.

    Not `importlib.invalidate_caches`, which reads the directory of every archive on the path again. In Spark's workers,
    pyspark's own archive is one of them, at a tenth of a second each time. Here, an archive is read again only if its
    file has changed.
    """
    for finder in sys.meta_path:
        if finder is not PathFinder and hasattr(finder, "invalidate_caches"):
            finder.invalidate_caches()
    for path, found in list(sys.path_importer_cache.items()):
        if found is None:
            sys.path_importer_cache.pop(path, None)  # there was no such folder before
        elif not isinstance(found, zipimport.zipimporter):
            if hasattr(found, "invalidate_caches"):
                found.invalidate_caches()
        else:
            known, seen = _archives.get(path, (None, None))
            identity = file_identity(found.archive)
            if known is not found or seen != identity:
                found.invalidate_caches()
                _archives[path] = found, identity


def folders_of(spec: ModuleSpec | None) -> list[str]:
    """The folders of a package's modules; empty if the spec is not a package's."""
    return [] if spec is None else list(spec.submodule_search_locations or ())


def _plain_folders(folder: str) -> Iterator[str]:
    """The names of the folders in a folder (which may be in an archive) that may be namespace packages."""
    opened = open_folder(folder)
    if opened is not None:
        names = (item.name for item in opened.iterdir() if item.name.isidentifier() and item.is_dir())
        yield from (name for name in names if name != "__pycache__")


def open_folder(path: str) -> Traversable | None:
    """The folder, which may be in a zip archive (`code.zip/package`); `None` if it does not exist."""
    if Path(path).is_dir():
        return Path(path)
    archive = next((above for above in Path(path).parents if above.is_file()), Path(path))
    if not zipfile.is_zipfile(archive):
        return None
    inner = Path(path).relative_to(archive).as_posix()
    return zipfile.Path(archive, "" if inner == "." else f"{inner}/")


def is_shipped(place: str) -> bool:
    """Whether a file or folder is in a folder with code that a Spark driver has shipped here."""
    return any(part.startswith(SHIPPED_FOLDER) for part in PurePath(place).parts)


def has_code(spec: ModuleSpec | None) -> bool:
    """Whether the module has code to run; namespace packages have none."""
    return spec is not None and spec.loader is not None and spec.origin is not None


def with_parents(module: str) -> Iterator[str]:
    """`a`, `a.b` and `a.b.c` for `a.b.c`: importing it imports all of them."""
    parts = module.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _place(spec: ModuleSpec | None) -> str:
    """The top-level package's folder, or the single module's file; empty for built-in and frozen modules."""
    folders = folders_of(spec)
    if folders:
        return folders[0]
    return spec.origin if spec is not None and spec.origin is not None and spec.has_location else ""


def _is_recorded(top: str, folder: PurePath) -> bool:
    starts = (f"{top}/", f"{top}.")
    for record in Path(folder).glob("*.dist-info/RECORD"):
        with record.open(encoding="utf-8", errors="replace") as lines:
            if any(line.startswith(starts) for line in lines):
                return True
    return False

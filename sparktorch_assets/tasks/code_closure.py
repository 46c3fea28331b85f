"""The code behind a module: which modules it reaches by its imports, and a digest of each. Nothing is imported or run.

The user's own code counts module by module: everything outside the standard library and outside installed packages,
followed through every kind of static import; so do the data files beside it that it names. An installed package counts as a whole, and only if the name itself lies in
it; what other code merely imports from installed packages does not count.
"""

import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.resources.abc import Traversable
from pathlib import Path

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.file_identity import FileIdentity, file_identity
from sparktorch_assets.tasks.module_data import data_digest, file_digest, open_folder
from sparktorch_assets.tasks.module_finder import OWN_PACKAGE, ModuleFinder, folders_of, with_parents
from sparktorch_assets.tasks.module_source import ModuleSource, read_source

WHOLE = ".*"
"""Ends the name of a piece of code that is a whole installed package, rather than one module."""

FILES = ":files"
"""Ends the name of the data files that a module names: see `module_data`."""


def code_closure(module: str) -> dict[str, str]:
    """The pieces of code that importing `module` may run, each with its digest, in the order of their names.

    A piece is a module (`pkg.hooks`), the data files beside it that it names (`pkg.hooks:files`, see `module_data`), or an
    installed package as a whole (`pkg.*`). Sources count by their syntax tree, so that neither comments nor layout matter;
    compiled modules count by their bytes. Parent packages, re-exports, relative and star imports, imports inside functions
    or conditions, and `import_module("literal")` are followed. A module that imports by a computed name counts with all
    modules of its package. This library's own modules, the standard library and names that cannot be found are not
    followed.

    Raises:
        ModuleNotFoundError: there is no such module, or it is `__main__`, which workers cannot import.
        TaskError: a module's loader shows neither its source nor its bytes.
    """
    finder = ModuleFinder()
    if finder.find(module) is None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    names: Iterable[str] = ()
    if _top(module) == OWN_PACKAGE:
        names = [module]
    elif finder.is_installed(module):
        package = finder.outermost(module)
        names = [package + WHOLE if folders_of(finder.find(package)) else package]
    elif finder.is_users(module):
        names = _reached_from(module, finder)
    pieces = {name: piece_digest(name, finder) for name in sorted(names)}
    return {name: digest for name, digest in pieces.items() if digest is not None}


def piece_digest(piece: str, finder: ModuleFinder) -> str | None:
    """The digest of one piece on this host; `None` where it cannot be found or has no code.

    It depends on the code alone, not on where it lies: a module of a checkout on the driver equals the same module
    installed on a worker.
    """
    module = module_of(piece)
    spec = finder.find(module)
    if piece.endswith(WHOLE):
        return _package_digest(folders_of(spec))
    source = None if spec is None else _source(spec)
    if source is None:
        return None
    return data_digest(module, source.words, finder) if piece.endswith(FILES) else source.digest


def module_of(piece: str) -> str:
    """The module or package that a piece of code belongs to."""
    return piece.removesuffix(WHOLE).removesuffix(FILES)


def _reached_from(module: str, finder: ModuleFinder) -> set[str]:
    reached: dict[str, ModuleSource | None] = {}
    waiting = [module]
    while waiting:
        for name in with_parents(waiting.pop()):
            spec = finder.find(name)
            if name in reached or spec is None:
                continue
            reached[name] = source = _source(spec)
            if source is not None:
                waiting += [found for found in _imported(name, spec, source, finder) if finder.is_users(found)]
    # One module may tell where the code lies (`HERE = Path(__file__).parent`), and others name the files.
    places = {_top(name) for name, source in reached.items() if source is not None and source.finds_its_place}
    return {*reached, *(name + FILES for name in reached if _top(name) in places)}


def _top(module: str) -> str:
    return module.partition(".")[0]


def _imported(name: str, spec: ModuleSpec, source: ModuleSource, finder: ModuleFinder) -> Iterator[str]:
    """The names in a module's imports that may be modules; some are mere attributes, which no finder will find."""
    package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
    for written, taken in source.imports:
        try:
            base = importlib.util.resolve_name(written, package)
        except ImportError:  # beyond the top-level package: importing it fails as well
            continue
        yield base
        if not taken or not finder.is_users(base):
            continue
        yield from (f"{base}.{item}" for item in (_exports(base, finder) if "*" in taken else taken))
    if source.computes_imports and package:
        yield from finder.modules_below(package)


def _exports(package: str, finder: ModuleFinder) -> tuple[str, ...]:
    spec = finder.find(package)
    source = None if spec is None else _source(spec)
    return () if source is None else source.exports


def _source(spec: ModuleSpec) -> ModuleSource | None:
    """The module's source; `None` for what has none (namespace packages and built-in modules)."""
    origin, loader = spec.origin, spec.loader
    if origin is None or loader is None or not spec.has_location:
        return None
    identity = file_identity(origin)
    if identity is not None:
        return _read_file(origin, identity)
    if hasattr(loader, "get_data"):  # a zip archive
        return read_source(origin, loader.get_data(origin))
    text = loader.get_source(spec.name) if hasattr(loader, "get_source") else None
    if text is None:
        raise TaskError(
            f"the code of module {spec.name!r} cannot be read for its fingerprint: its loader, {type(loader).__name__}, "
            f"gives no source. Put the code into a module that is a file, or into a package that is installed"
        )
    return read_source(".py", text.encode())


@lru_cache(maxsize=4096)
def _read_file(path: str, _identity: FileIdentity) -> ModuleSource:  # the identity is the cache's key
    return read_source(path, Path(path).read_bytes())


def _package_digest(folders: Iterable[str]) -> str | None:
    digest, found = hashlib.sha256(), False
    for name, file in (item for folder in folders if (opened := open_folder(folder)) for item in _modules_in(opened)):
        digest.update(f"{name}\0{file_digest(file)}\n".encode())
        found = True
    return digest.hexdigest() if found else None


def _modules_in(folder: Traversable, path: str = "") -> Iterator[tuple[str, Traversable]]:
    """The Python files and extension modules of a package: path within it, and the file."""
    modules = (".py", *(suffix for suffix in EXTENSION_SUFFIXES if suffix != ".so"))  # other libraries end in .so
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.is_dir():
            yield from _modules_in(item, f"{path}{item.name}/")
        elif item.name.endswith(modules):
            yield f"{path}{item.name}", item

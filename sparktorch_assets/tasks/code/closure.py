"""The code behind a module: which modules it reaches by its imports, and a digest of each. Nothing is imported or run.

The user's own code is everything outside the standard library and outside installed packages. Every kind of static
import in it is followed, and each module that is reached counts; so do the data files next to the code that it names.
If only running the code would show what it imports, whole packages count. An installed package counts as a whole, and
only if the given module itself lies in it; what other code merely imports from installed packages does not count.
"""

import hashlib
import importlib.util
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.resources.abc import Traversable
from pathlib import Path

from sparktorch_assets.errors import TaskError
from sparktorch_assets.file_identity import FileIdentity, file_identity
from sparktorch_assets.tasks.code.module_data import (
    data_digest,
    file_digest,
    folders_around,
    is_named,
    named_digest,
    named_files,
)
from sparktorch_assets.tasks.code.module_finder import (
    OWN_PACKAGE,
    ModuleFinder,
    folders_of,
    has_code,
    open_folder,
    with_parents,
)
from sparktorch_assets.tasks.code.module_source import ModuleSource, read_source

WHOLE = ".*"
"""Suffix of a piece of code that is a whole installed package rather than one module."""

FILES = ":files"
"""Suffix of the piece that stands for the data files that a module names: see `module_data`."""

TOGETHER = ":together"
"""Suffix of the piece that stands for the data files that no module reached from a module names by itself: one names
the folder, for example, and another the file."""


def code_closure(module: str) -> dict[str, str]:
    """The pieces of code that importing `module` may run, each with its digest, in the order of their names.

    A piece is a module (`pkg.hooks`), the data files next to it that it names (`pkg.hooks:files`, see `module_data`),
    the data files that the reached modules name only together (`pkg.hooks:together`), or an installed package as a
    whole (`pkg.*`). Of sources, the syntax tree is hashed, so that neither comments nor layout matter; of compiled
    modules, the bytes.
    Parent packages, re-exports, relative and star imports, imports inside functions or conditions, and
    `import_module("literal")` are followed. This library's own modules, the standard library and names that cannot be
    found are not followed.

    If a module imports by a computed name, all modules of its package (or, if it is in none, those in its folder) and
    of the packages that it imports count as reached. So do the modules and packages that strings in any reached module
    name. `dynamic_imports` says what counts as an import by a computed name.

    Raises:
        ModuleNotFoundError: there is no such module, or it is `__main__`, which workers cannot import.
        TaskError: a module's loader gives access to neither its source nor its bytes.
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
        names = _pieces_of(module, finder)
    pieces = {name: piece_digest(name, finder) for name in sorted(names)}
    return {name: digest for name, digest in pieces.items() if digest is not None}


def piece_digest(piece: str, finder: ModuleFinder) -> str | None:
    """The digest of one piece on this host; `None` where it cannot be found or has no code.

    It depends only on the code, not on where the code is: a module of a checkout on the driver has the same digest as
    the same module installed on a worker.
    """
    module = module_of(piece)
    spec = finder.find(module)
    if piece.endswith(WHOLE):
        return _package_digest(folders_of(spec))
    source = None if spec is None else source_of(spec)
    if source is None:
        return None
    if piece.endswith(TOGETHER):
        return _together_digest(reached_from(module, finder), finder)
    return data_digest(module, source.words, finder) if piece.endswith(FILES) else source.digest


def module_of(piece: str) -> str:
    """The module or package that a piece of code belongs to."""
    return piece.removesuffix(WHOLE).removesuffix(FILES).removesuffix(TOGETHER)


def installed_packages(modules: Iterable[str], finder: ModuleFinder) -> set[str]:
    """The installed packages that these modules import, in whatever place: their names at the top level."""
    found = set()
    for module in modules:
        spec = finder.find(module)
        source = None if spec is None else source_of(spec)
        if source is not None:
            found |= {_top(name) for name in _imported(module, source, finder)}
    return {name for name in found if finder.is_installed(name)}


def _pieces_of(module: str, finder: ModuleFinder) -> set[str]:
    reached = reached_from(module, finder)
    places = _places(reached)
    return {*reached, *(name + FILES for name in reached if _top(name) in places), module + TOGETHER}


def reached_from(module: str, finder: ModuleFinder) -> dict[str, ModuleSource | None]:
    """The modules that importing `module` may import, including `module` itself, with their sources."""
    reached: dict[str, ModuleSource | None] = {}
    waiting = {module}
    while waiting:
        _follow(waiting, reached, finder)
        waiting = {name for name in _computed(reached, finder) if finder.is_users(name)} - reached.keys()
    return reached


def _follow(modules: Iterable[str], reached: dict[str, ModuleSource | None], finder: ModuleFinder) -> None:
    """Add the modules to `reached`, together with everything that they import by literal names."""
    waiting = list(modules)
    while waiting:
        for name in with_parents(waiting.pop()):
            spec = finder.find(name)
            if name in reached or spec is None:
                continue
            reached[name] = source = source_of(spec)
            if source is not None:
                waiting += [found for found in _imported(name, source, finder) if finder.is_users(found)]


def _places(reached: Mapping[str, ModuleSource | None]) -> set[str]:
    """The top-level packages that find out where their code is: one module may define `HERE = Path(__file__).parent`,
    and others name the files."""
    return {_top(name) for name, source in reached.items() if source is not None and source.finds_its_place}


def _computed(reached: Mapping[str, ModuleSource | None], finder: ModuleFinder) -> Iterator[str]:
    """The modules that code may import by computed names, and those that it may run as files."""
    with_code = {name: source for name, source in reached.items() if source is not None}
    computing = [name for name, source in with_code.items() if source.computes_imports]
    computing += [name for name in _running_files(reached) if name not in computing]
    for name in computing:
        package = _package(name, finder)
        yield from finder.modules_below(package) if package else finder.modules_beside(name)
        for imported in _imported(name, with_code[name], finder):
            if imported not in with_parents(name) and finder.is_users(imported):
                yield from finder.modules_below(imported)
    if computing:
        for name, source in with_code.items():
            yield from _named_modules(name, source, finder)


def _running_files(reached: Mapping[str, ModuleSource | None]) -> list[str]:
    """The modules that run files as code. Text that is run may come from a file if some module finds out where its code
    is."""
    knows_places = bool(_places(reached))
    return [
        name
        for name, source in reached.items()
        if source is not None and (source.runs_files or (source.runs_text and knows_places))
    ]


def _named_modules(name: str, source: ModuleSource, finder: ModuleFinder) -> Iterator[str]:
    """The modules that strings in a module name, absolutely or relative to a package that contains it; for a package,
    all of its modules."""
    packages = [above for above in with_parents(name) if folders_of(finder.find(above))]
    for text in source.named:
        written = text.strip(".")
        if not written:
            above = packages[: len(packages) + 1 - len(text)]  # `f"..{name}"`
            yield from finder.modules_below(above[-1]) if above else ()
            continue
        for candidate in (written, *(f"{package}.{written}" for package in packages)):
            found = [part for part in with_parents(candidate) if finder.find(part) is not None]
            if found and finder.is_users(found[-1]) and found[-1] not in packages:
                yield from _with_modules(found[-1], finder)


def _with_modules(module: str, finder: ModuleFinder) -> Iterator[str]:
    """A module and, if it is a package, all modules below. A folder without modules is skipped: it probably contains
    data."""
    below = folders_of(finder.find(module))
    if has_code(finder.find(module)) or any(pkgutil.iter_modules(below)):
        yield module
        yield from finder.modules_below(module)


def _together_digest(reached: Mapping[str, ModuleSource | None], finder: ModuleFinder) -> str | None:
    """The digest of the data files that no reached module names by itself in the folders around it. It covers all
    reached modules as well if some of them run under names other than their own, under which no process would recognize
    them."""
    lines = set(_lines_of_files(reached, finder))
    if _running_files(reached):
        # Without the modules' names: if `sys.path` is changed, one file may have two.
        lines |= {source.digest for source in reached.values() if source is not None}
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest() if lines else None


def _lines_of_files(reached: Mapping[str, ModuleSource | None], finder: ModuleFinder) -> Iterator[str]:
    words = _all_words(reached)
    for _, path, file in together_files(reached, finder):
        yield f"{path}\0{named_digest(file, words)}"


def _all_words(reached: Mapping[str, ModuleSource | None]) -> frozenset[str]:
    return frozenset[str]().union(*(source.words for source in reached.values() if source is not None))


def together_files(
    reached: Mapping[str, ModuleSource | None], finder: ModuleFinder
) -> Iterator[tuple[tuple[str, str], str, Traversable]]:
    """The data files that the reached modules name only together: the name and the folder that they are found in (see
    `folders_around`), the file's name (see `named_files`), and the file."""
    places = _places(reached)
    with_code = {name: source for name, source in reached.items() if source is not None}
    if not places:
        return
    words = _all_words(reached)
    around: dict[tuple[str, str], list[frozenset[str]]] = {}
    for name, source in with_code.items():
        for folder in folders_around(name, finder):
            around.setdefault(folder, []).extend([source.words] if _top(name) in places else [])
    for folder, own in around.items():
        for path, file in named_files(*folder, words):
            if not any(is_named(folder[0], path, few) for few in own):
                yield folder, path, file


def _top(module: str) -> str:
    return module.partition(".")[0]


def _package(module: str, finder: ModuleFinder) -> str:
    """The package that relative imports in the module start from; empty if the module is in none."""
    spec = finder.find(module)
    is_package = spec is not None and spec.submodule_search_locations is not None
    return module if is_package else module.rpartition(".")[0]


def _imported(name: str, source: ModuleSource, finder: ModuleFinder) -> Iterator[str]:
    """The names in a module's imports that may be modules. Some are mere attributes, which no finder will find."""
    package = _package(name, finder)
    for written, taken in source.imports:
        try:
            base = importlib.util.resolve_name(written, package)
        except ImportError:  # beyond the top-level package: importing it fails as well
            continue
        yield base
        if not taken or not finder.is_users(base):
            continue
        yield from (f"{base}.{item}" for item in (_exports(base, finder) if "*" in taken else taken))


def _exports(package: str, finder: ModuleFinder) -> tuple[str, ...]:
    spec = finder.find(package)
    source = None if spec is None else source_of(spec)
    return () if source is None else source.exports


def source_of(spec: ModuleSpec) -> ModuleSource | None:
    """What a module's source says; `None` if it has none (namespace packages and built-in modules)."""
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

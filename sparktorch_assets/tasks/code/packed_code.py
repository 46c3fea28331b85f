"""Packs the user's own code into an archive, so that another process can import it without having it installed.

An archive holds the modules and the data files among the given pieces of code (see `code_closure`), and nothing else of
the project. Installed packages and the standard library are left out. Modules keep their places relative to the folder
that imports start from, and each such folder has a folder in the archive. The same code gives the same archive, byte by
byte: files are in a fixed order and have a fixed time.
"""

import hashlib
import io
import os
import sys
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path, PurePath
from typing import Any

from sparktorch_assets.tasks.code.closure import (
    FILES,
    TOGETHER,
    installed_packages,
    module_of,
    reached_from,
    source_of,
    together_files,
)
from sparktorch_assets.tasks.code.module_data import folders_around, named_files
from sparktorch_assets.tasks.code.module_finder import ModuleFinder, folders_of, has_code

_FIRST_TIME = (1980, 1, 1, 0, 0, 0)
_MODE = 0o644 << 16

_numbering = threading.Lock()
_starts: list[str] = []
"""The folders that imports start from, in the order in which this process met them. Each keeps its number, so that
archives can be unpacked over each other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedCode:
    """An archive of code, and what importing from it needs."""

    content: bytes = field(repr=False)
    digest: str
    """A hash of the archive's files."""
    starts: tuple[str, ...]
    """The folders in the archive that imports start from, in the order in which they are searched."""
    packages: tuple[str, ...]
    """The installed packages that the code imports, somewhere and perhaps under a condition."""
    files: int
    data: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The archive's files that are no modules -> digest. Several modules may name one, so the digests of modules and of what
    they name do not say whether two archives agree."""


def pack_code(pieces: Iterable[str]) -> PackedCode | None:
    """Pack the user's own code among these pieces; `None` if there is none."""
    finder = ModuleFinder()
    files: dict[str, bytes] = {}
    found: dict[str, str] = {}
    modules, data = set(), {}
    for piece in pieces:
        module = module_of(piece)
        if not finder.is_users(module):
            continue
        modules.add(module)
        for start, path, content in _files_of(piece, module, finder):
            found[start] = _number(start)
            files[f"{found[start]}/{path}"] = content
            if piece.endswith((FILES, TOGETHER)):
                data[f"{found[start]}/{path}"] = hashlib.sha256(content).hexdigest()
    if not files:
        return None
    digest = hashlib.sha256()
    for path, content in sorted(files.items()):
        digest.update(f"{path}\0{len(content)}\0".encode("utf-8", "surrogateescape") + content)
    return PackedCode(
        content=_archive(files),
        digest=digest.hexdigest(),
        starts=tuple(found[start] for start in sorted(found, key=_search_order)),
        packages=tuple(sorted(installed_packages(modules, finder))),
        files=len(files),
        data=data,
    )


def _files_of(piece: str, module: str, finder: ModuleFinder) -> Iterator[tuple[str, str, bytes]]:
    """The files of a piece of code: the folder that imports start from, the path from there, and the content."""
    spec = finder.find(module)
    if spec is None or not has_code(spec):
        return
    if piece.endswith(TOGETHER):
        for (level, folder), path, file in together_files(reached_from(module, finder), finder):
            yield *_data_place(level, folder, path), file.read_bytes()
    elif piece.endswith(FILES):
        source = source_of(spec)
        for level, folder in folders_around(module, finder) if source is not None else ():
            for path, file in named_files(level, folder, source.words if source is not None else frozenset()):
                yield *_data_place(level, folder, path), file.read_bytes()
    else:
        yield *_module_place(module, spec), _content(spec)


def _module_place(module: str, spec: ModuleSpec) -> tuple[str, str]:
    parts = module.split(".")
    origin = PurePath(str(spec.origin))
    _, dot, suffix = origin.name.partition(".")
    if folders_of(spec):
        parts.append("__init__")
    above = list(origin.parents)
    start = above[min(len(parts), len(above)) - 1]
    return str(start), "/".join(parts) + (dot + suffix if dot else ".py")


def _data_place(level: str, folder: str, path: str) -> tuple[str, str]:
    """The place of a file to which `named_files` gives the name `path`."""
    packages = level.split(".") if level else []
    start = PurePath(folder).parents[len(packages) - 1] if packages else PurePath(folder)
    return str(start), "/".join([*packages, path.removeprefix(f"{level}/")])


def _content(spec: ModuleSpec) -> bytes:
    loader: Any = spec.loader
    origin = str(spec.origin)
    if Path(origin).is_file():
        return Path(origin).read_bytes()
    if hasattr(loader, "get_data"):  # a zip archive
        content: bytes = loader.get_data(origin)
        return content
    return str(loader.get_source(spec.name)).encode()


def _number(start: str) -> str:
    with _numbering:
        if start not in _starts:
            _starts.append(start)
        return str(_starts.index(start))


def _search_order(start: str) -> int:
    searched = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100  ("" is the current folder)
    return searched.index(start) if start in searched else len(searched)


def _archive(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, content in sorted(files.items()):
            entry = zipfile.ZipInfo(path, _FIRST_TIME)
            entry.external_attr = _MODE
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()

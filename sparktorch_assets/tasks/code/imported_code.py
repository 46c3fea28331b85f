"""Tracks which version of the user's code this process has imported, so that it never runs code of another digest.

Python imports a module once, and Spark keeps its Python workers alive between jobs. Nothing is reloaded here: a reload
would leave old classes and functions alive wherever they were imported to.
"""

import os
import socket
import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec

from sparktorch_assets.errors import HostError
from sparktorch_assets.tasks.code.closure import FILES, TOGETHER, WHOLE, module_of, piece_digest, source_of
from sparktorch_assets.tasks.code.module_finder import ModuleFinder, folders_of
from sparktorch_assets.tasks.code.stale_bytecode import drop_stale_bytecode
from sparktorch_assets.tasks.code.unpacked_code import SHIP_SETTING

DECLARED = ":code_version"
"""Suffix of the key of a task's declared version among the pieces of its code: `task:code_version`."""

_imported: dict[str, tuple[str, object]] = {}
"""Piece -> its digest, and the module's spec, which is a new object after a reload by the user."""
_declared: dict[str, str] = {}
"""Key of a declared version -> its value in the first job of that task in this process."""


def check_code(code: Mapping[str, str]) -> None:
    """Check that this process runs, and will import, exactly these pieces of code. Call it before user code is
    imported, and again afterwards to find what changed in between. It costs nothing for modules that are already
    imported and checked. Data files may be read at any time, so they are compared each time.

    If a module was imported before the first check that names it, it is assumed to match the present content of the file
    that it was imported from.

    Args:
        code: piece -> digest, as `code_closure` gives them; and `task:code_version` -> the declared version.

    Raises:
        HostError: this process has imported another version of a module, or the module's file is another version, or
            there is no such module here.
    """
    unknown: list[str] = []
    for piece, digest in code.items():
        if piece.endswith(DECLARED):
            if _declared.setdefault(piece, digest) != digest:
                raise _outdated(f"code of task {piece.removesuffix(DECLARED)!r} under another code_version")
            continue
        module = sys.modules.get(module_of(piece))
        known, spec = _imported.get(piece, (None, None))
        is_known = module is not None and known is not None and module.__spec__ is spec
        if is_known and known != digest:
            raise _outdated(f"another version of {_called(piece)}")
        if not is_known or piece.endswith((FILES, TOGETHER)):
            unknown.append(piece)
    finder = ModuleFinder() if unknown else None
    for piece in unknown:
        assert finder is not None
        name = module_of(piece)
        spec = finder.find(name)
        if name not in sys.modules:
            drop_stale_bytecode(spec)
        if piece_digest(piece, finder) != code[piece]:
            raise _unplanned(piece, spec)
        if name in sys.modules:
            _check_origin(piece, code[piece], sys.modules[name].__spec__, spec)
            _imported[piece] = code[piece], sys.modules[name].__spec__


def _check_origin(piece: str, digest: str, imported: ModuleSpec | None, found: ModuleSpec | None) -> None:
    """Check a module that was imported from another file than the one that would be imported now."""
    if piece.endswith(WHOLE) or imported is None or found is None or imported.origin == found.origin:
        return
    here, there = str(imported.origin), str(found.origin)
    if os.path.realpath(here) == os.path.realpath(there):
        return
    source = source_of(imported)
    if piece.endswith((FILES, TOGETHER)) or source is None or source.digest != digest:
        raise _outdated(f"another version of {_called(piece)}, from {here}; this job was planned with that of {there}")


def _unplanned(piece: str, spec: ModuleSpec | None) -> HostError:
    host, called = socket.gethostname(), _called(piece)
    if spec is None:
        way_out = "" if piece.endswith(WHOLE) else f", or have it shipped ({SHIP_SETTING}=true)"
        return HostError(f"{called} cannot be found on {host} (Python: {sys.executable}). Install it there{way_out}")
    places = [spec.origin] if spec.origin is not None else folders_of(spec)
    return HostError(
        f"{called} on {host} ({', '.join(map(str, places))}) is not what this job was planned with: it changed meanwhile, or "
        f"this host has another copy. Make the copies the same and run again"
    )


def _called(piece: str) -> str:
    module = repr(module_of(piece))
    if piece.endswith(TOGETHER):
        return f"the files that module {module} and the modules that it imports name or run"
    return f"the data files that module {module} names" if piece.endswith(FILES) else f"module {module}"


def _outdated(what: str) -> HostError:
    return HostError(
        f"this Python process ({socket.gethostname()}:{os.getpid()}) has already imported {what}, and Python imports a "
        f"module once. Restart the process: in a notebook its kernel; on Spark Connect start a new session, which gets "
        f"workers of its own"
    )

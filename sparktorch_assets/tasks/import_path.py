"""Import paths (`package.module:attribute`): declaring one is free, loading it and fingerprinting its code are apart.

A task names its model, encoders and hooks by path, so that declaring it imports neither torch nor the user's code.
"""

import ast
import hashlib
import importlib
import importlib.util
import re
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from sparktorch_assets.errors import TaskError, nearest

_PATH = re.compile(r"[A-Za-z_][\w]*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def check_import_path(path: str, field: str) -> None:
    """Raise TaskError unless `path` reads `package.module:attribute`."""
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise TaskError(f"{field}={path!r} is not an import path; write it as 'package.module:attribute'")


_code_at_import: dict[str, str | None] = {}
"""Module -> the digest of its file when it was imported here (or first met)."""


def load_import_path(path: str, field: str) -> Any:
    """The object that `path` names; a module whose code changed since it was imported here is imported again.

    Spark keeps its Python workers alive between jobs, so without that an edited hook would be fingerprinted as it is
    and run as it was.

    Raises:
        TaskError: the module cannot be found or has no such attribute. An error inside the module is not wrapped.
    """
    check_import_path(path, field)
    module_name, _, attribute = path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        found = _as_it_is_now(found)
    except ModuleNotFoundError as error:
        raise TaskError(
            f"{field}={path!r}: module {error.name!r} is not installed here. On Spark it must be importable on every "
            f"worker: install it there, or ship it with spark.submit.pyFiles"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [name for name in dir(found) if not name.startswith("_")]
            raise TaskError(f"{field}={path!r}: {module_name} has no {part!r}; {nearest(part, public)}")
        found = getattr(found, part)
    return found


def _as_it_is_now(module: ModuleType) -> ModuleType:
    name, file = module.__name__, getattr(module, "__file__", None)
    if name == "__main__" or file is None or not Path(file).is_file():
        return module
    code = _file_digest(file, *_identity(file))
    if _code_at_import.setdefault(name, code) != code:
        importlib.invalidate_caches()
        module = importlib.reload(module)
        _code_at_import[name] = code
    return module


def _identity(file: str) -> tuple[int, int]:
    status = Path(file).stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=1024)
def _file_digest(file: str, _size_bytes: int, _modified_ns: int) -> str:  # the last two are the cache's key
    content = Path(file).read_bytes()
    if file.endswith(".py"):
        content = ast.dump(ast.parse(content)).encode()
    return hashlib.sha256(content).hexdigest()


def code_digest(path: str, field: str) -> str:
    """A hash of the code in the module that `path` names, blind to comments and formatting; nothing is imported but
    the module's parent packages.

    The whole module counts, so that a change in a function which the hook calls is seen. What the module imports from
    elsewhere is not seen: raise the task's `code_version` for that. Compiled modules count by their bytes.

    Raises:
        TaskError: the module cannot be found.
    """
    check_import_path(path, field)
    module_name = path.partition(":")[0]
    try:
        spec = importlib.util.find_spec(module_name)
    except ModuleNotFoundError:
        spec = None
    if spec is None:
        raise TaskError(f"{field}={path!r}: module {module_name!r} is not installed here")
    if spec.origin is None or not Path(spec.origin).is_file():
        return hashlib.sha256(module_name.encode()).hexdigest()
    return _file_digest(spec.origin, *_identity(spec.origin))

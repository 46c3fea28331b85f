"""Import paths (`package.module:attribute`): declaring one is free, loading it and fingerprinting its code are apart.

A task names its model, encoders and hooks by path, so that declaring it imports neither torch nor the user's code.
"""

import ast
import hashlib
import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

from sparktorch_assets.errors import TaskError, nearest

_PATH = re.compile(r"[A-Za-z_][\w]*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def check_import_path(path: str, field: str) -> None:
    """Raise TaskError unless `path` reads `package.module:attribute`."""
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise TaskError(f"{field}={path!r} is not an import path; write it as 'package.module:attribute'")


def load_import_path(path: str, field: str) -> Any:
    """The object that `path` names.

    Raises:
        TaskError: the module cannot be found or has no such attribute. An error inside the module is not wrapped.
    """
    check_import_path(path, field)
    module_name, _, attribute = path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
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
    content = Path(spec.origin).read_bytes()
    if spec.origin.endswith(".py"):
        content = ast.dump(ast.parse(content)).encode()
    return hashlib.sha256(content).hexdigest()

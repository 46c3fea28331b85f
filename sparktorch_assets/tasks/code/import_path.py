"""Import paths (`package.module:attribute`): how to check one, load its object, and find the code behind it.

A task names its model, encoders and hooks by path, so that declaring it imports neither torch nor the user's code.
"""

import importlib
import re
from typing import Any

from sparktorch_assets.errors import TaskError, nearest
from sparktorch_assets.tasks.code.closure import code_closure
from sparktorch_assets.tasks.code.module_finder import ModuleFinder, folders_of, with_parents
from sparktorch_assets.tasks.code.unpacked_code import SHIP_SETTING, lacking_packages

_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_PATH = re.compile(r"[A-Za-z_][\w]*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def check_import_path(path: str, field: str) -> None:
    """Raise TaskError unless `path` reads `package.module:attribute`."""
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise TaskError(f"{field}={path!r} is not an import path; write it as 'package.module:attribute'")


def load_import_path(path: str, field: str) -> Any:
    """The object that `path` names.

    A module that this process has imported already is not imported again; `imported_code.check_code` finds out whether
    it has changed since.

    Raises:
        TaskError: the module cannot be found or has no such attribute. Errors raised by the module itself are not
            wrapped.
    """
    check_import_path(path, field)
    module_name, _, attribute = path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise TaskError(f"{field}={path!r}: module {error.name!r} is not installed here. {_way_out()}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [name for name in dir(found) if not name.startswith("_")]
            raise TaskError(f"{field}={path!r}: {module_name} has no {part!r}; {nearest(part, public)}")
        found = getattr(found, part)
    return found


def _way_out() -> str:
    lacking = lacking_packages()
    if lacking:
        return (
            f"The code that was shipped to this worker imports installed packages that its Python lacks: "
            f"{', '.join(lacking)}. Install them there, since only the project's own modules are shipped"
        )
    return f"On Spark it must be importable on every worker: install it there, or ship it ({SHIP_SETTING}=true)"


def import_path_code(path: str, field: str) -> dict[str, str]:
    """The pieces of code that loading `path` may run, each with its digest: see `code_closure`. Imports nothing.

    Raises:
        TaskError: the module cannot be found, or is the script itself (`__main__`), which no worker can import.
    """
    check_import_path(path, field)
    module = path.partition(":")[0]
    try:
        return code_closure(module)
    except ModuleNotFoundError:
        if module == "__main__":
            raise TaskError(
                f"{field}={path!r}: '__main__' is the script or notebook that runs, which Spark's workers cannot import; "
                f"put the code into a module of its own and name that one"
            ) from None
        raise TaskError(f"{field}={path!r}: module {module!r} is not installed here") from None


def named_module(text: str) -> str | None:
    """The user's own module that a text names, in the form `package.module:attribute` or `package.module.attribute`;
    `None` if it names none. A factory may import what such an argument names."""
    if not _DOTTED.fullmatch(text.replace(":", ".", 1)):
        return None
    finder = ModuleFinder()
    for name in reversed(list(with_parents(text.partition(":")[0]))):
        spec = finder.find(name)
        # `words.json` is a file, even if there is a module `words`.
        if spec is not None and finder.is_users(name) and (":" in text or "." in name or folders_of(spec)):
            return name
    return None

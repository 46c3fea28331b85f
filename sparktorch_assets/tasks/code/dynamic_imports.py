"""Code that a module imports or runs dynamically, as far as its text shows: which modules it names outright, and
whether it may import others, which only running it would show."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import resolve_name

_IMPORTERS = frozenset(
    ["import_module", "__import__", "_gcd_import", "resolve_name", "iter_modules", "walk_packages", "import_string"]
)
"""Functions that import modules by name."""
_RUNNERS = frozenset(
    [
        *["run_module", "run_path", "spec_from_file_location", "spec_from_loader", "module_from_spec", "exec_module"],
        *["load_source", "SourceFileLoader", "SourcelessFileLoader", "ExtensionFileLoader", "FileFinder"],
        *["zipimporter", "extend_path", "addsitedir", "path_hooks", "meta_path", "pyximport"],
    ]
)
"""Names with which files are run as code under names other than their own, or the import path is changed. A loader's own
`load_module` is not among them: `ModelLoader` has a method of that name, and loaders are made with the others."""
_BY_LITERAL = frozenset(["import_module", "__import__", "resolve_name", "run_module"])
"""Those of the functions above whose first argument names the module."""
_OF_TEXT = frozenset(["exec", "eval", "compile"])
_LONGEST_NAME = 255


@dataclass(kw_only=True, slots=True)
class DynamicImports:
    """What a module imports or runs without import statements."""

    modules: list[str] = field(default_factory=list)
    """Names of modules in calls with literal arguments, as they are written."""
    by_name: bool = False
    """Whether modules are imported whose names only running the code would show."""
    by_file: bool = False
    """Whether files are run as code, or the import path is changed."""
    by_text: bool = False
    """Whether text that is not a literal in the module is run as code (`exec`, `eval`, `compile`)."""


def dynamic_imports(tree: ast.AST) -> DynamicImports:
    """The dynamic imports of a module. Any use of a function that imports counts, even under another name
    (`load = importlib.import_module`), unless it is a call that names the module.

    Args:
        tree: the module's syntax tree.
    """
    found = DynamicImports()
    nodes = list(ast.walk(tree))
    settled = {id(node.func) for node in nodes if isinstance(node, ast.Call) and _settle(node, found)}
    settled |= {id(read) for node in nodes for read in _only_read(node)}
    names_of_sys, bound = _names_of_sys(nodes), _bound(nodes)
    for node in nodes:
        if id(node) in settled:
            continue
        for name in _uses(node):
            found.by_name |= name in _IMPORTERS
            found.by_file |= name in _RUNNERS
        found.by_file |= _is_search_path(node, names_of_sys)
        found.by_text |= _runs_text(node, bound)
    return found


def module_names(text: str) -> Iterator[str]:
    """The module's name in a string that may be one (`pkg.sub`, `.sub`, `pkg.nets:Net`) or begin with one
    (`pkg.{name}`)."""
    match = re.match(r"(\.*(?:\w+\.)*\w*)(?:$|[%{]|:[\w.]+$)", text) if len(text) <= _LONGEST_NAME else None
    name = "" if match is None else match[1]
    if name.strip("."):
        name = name.rstrip(".")
    if name not in ("", ".") and all(part.isidentifier() for part in name.split(".") if part):
        yield name


def _settle(call: ast.Call, found: DynamicImports) -> bool:
    """Whether the call shows everything that it imports; modules that it names are added to `found`."""
    name = _name_of(call.func)
    if name in _OF_TEXT:
        return isinstance(call.func, ast.Name) and bool(call.args) and isinstance(call.args[0], ast.Constant)
    if name not in _BY_LITERAL:
        return False
    literals = [_text(given) for given in call.args]
    keywords = {given.arg: _text(given.value) for given in call.keywords}
    module = literals[0] if literals else keywords.get("name")
    if module is None:
        return not call.args and not call.keywords  # it raises
    module = module.partition(":")[0]
    package = literals[1] if len(literals) > 1 else keywords.get("package")
    if module.startswith(".") and package is not None:
        try:
            module = resolve_name(module, package)
        except ImportError:  # the call raises as well
            return True
    if re.fullmatch(r"\.*[^./\0]+(\.[^./\0]+)*", module):
        found.modules.append(module)
    if name == "import_module":
        return package is not None or not module.startswith(".") or _is_own_package(call)
    return name == "resolve_name" or (name == "__import__" and len(call.args) + len(call.keywords) == 1)


def _is_own_package(call: ast.Call) -> bool:
    given = [*call.args[1:2], *(keyword.value for keyword in call.keywords if keyword.arg == "package")]
    return all(isinstance(value, ast.Name) and value.id in ("__package__", "__name__") for value in given)


def _uses(node: ast.AST) -> Iterator[str]:
    """The names that a node refers to: variables, attributes, imports under another name, and strings that are names
    (`getattr(importlib, "import_module")`)."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.ImportFrom):
        yield from (alias.name for alias in node.names if alias.asname not in (None, alias.name))
    elif isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)


def _only_read(node: ast.AST) -> Iterator[ast.expr]:
    """The expressions inside a node that it looks at and does not change: `f"{sys.path}"`, `"." in sys.path`."""
    if isinstance(node, ast.FormattedValue):
        yield node.value
    elif isinstance(node, ast.Compare):
        yield from (node.left, *node.comparators)
    elif isinstance(node, ast.For | ast.comprehension):
        yield node.iter


def _names_of_sys(nodes: list[ast.AST]) -> set[str]:
    aliases = (alias for node in nodes if isinstance(node, ast.Import) for alias in node.names)
    return {alias.asname or alias.name for alias in aliases if alias.name == "sys"}


def _is_search_path(node: ast.AST, names_of_sys: set[str]) -> bool:
    """Whether the node is `sys.path`, or a package's `__path__` that is changed."""
    if isinstance(node, ast.ImportFrom):
        return node.module == "sys" and any(alias.name == "path" for alias in node.names)
    if isinstance(node, ast.Name):
        return node.id == "__path__" and isinstance(node.ctx, ast.Store)
    if not isinstance(node, ast.Attribute):
        return False
    if isinstance(node.value, ast.Name) and node.value.id == "__path__":
        return True  # `__path__.append`
    return node.attr == "path" and isinstance(node.value, ast.Name) and node.value.id in names_of_sys


def _bound(nodes: list[ast.AST]) -> set[str]:
    """Names that an import binds: after `from re import compile`, `compile` is not the built-in function."""
    imports = (node for node in nodes if isinstance(node, ast.ImportFrom) and node.module != "builtins")
    return {alias.asname or alias.name for node in imports for alias in node.names}


def _runs_text(node: ast.AST, bound: set[str]) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr in _OF_TEXT and isinstance(node.value, ast.Name) and node.value.id == "builtins"
    if isinstance(node, ast.ImportFrom):
        return node.module == "builtins" and any(alias.name in _OF_TEXT for alias in node.names)
    return isinstance(node, ast.Name) and node.id in _OF_TEXT and node.id not in bound


def _name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None

"""What is taken from a module's text: a digest that ignores comments and layout, its imports, and the strings in it
that may name files or modules."""

import ast
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sparktorch_assets.tasks.code.dynamic_imports import dynamic_imports, module_names

_PLACES = frozenset(
    [
        *["__file__", "__path__", "__spec__", "__loader__", "get_data", "getfile", "getsourcefile"],
        *["resources", "importlib.resources", "importlib_resources", "pkg_resources"],
    ]
)
"""Names through which code finds the files next to it."""
_DUNDERS = ("__file__", "__path__", "__spec__", "__loader__")
_PYC_HEADER_BYTES = 16
_LONGEST_FILE_NAME = 255


@dataclass(frozen=True, kw_only=True, slots=True)
class ModuleSource:
    """What was read from a module's source, without running it."""

    digest: str
    imports: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Imported modules as they are written (`pkg.sub`, `..sibling`), each with the names that are imported from it."""
    exports: tuple[str, ...] = ()
    """The strings in `__all__`: a star import of a package imports the sub-modules among them."""
    computes_imports: bool = False
    """Whether a module is imported whose name only running the code would show."""
    runs_files: bool = False
    """Whether files are run as code under names other than their own, or the import path is changed."""
    runs_text: bool = False
    """Whether text that is not a literal in the module is run as code."""
    finds_its_place: bool = False
    """Whether the code asks where it is, as it must to open the files next to it."""
    words: frozenset[str] = frozenset()
    """The parts of its strings that may be names of files and folders; for a pattern (`*.json`, `{language}.json`), the
    ending."""
    named: frozenset[str] = frozenset()
    """Its strings that may be names of modules, or the beginnings of such names: see `module_names`."""


def read_source(origin: str, content: bytes) -> ModuleSource:
    """The source of a module.

    Args:
        origin: the name of its file. Only `.py` and `.pyw` are parsed; of other files, the bytes are hashed.
        content: the file's bytes.
    """
    if not origin.endswith((".py", ".pyw")):
        return ModuleSource(digest=_hash(content[_PYC_HEADER_BYTES:] if origin.endswith(".pyc") else content))
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # importing it fails as well
        return ModuleSource(digest=_hash(content))
    imports: list[tuple[str, tuple[str, ...]]] = []
    exports: list[str] = []
    words: set[str] = set()
    named: set[str] = set()
    finds_its_place = False
    for node in ast.walk(tree):
        finds_its_place |= not _PLACES.isdisjoint(_names_in(node))
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            text = node.value if isinstance(node.value, str) else node.value.decode(errors="replace")
            words.update(_words(text))
            named.update(module_names(text))
        elif isinstance(node, ast.Import):
            imports += [(alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports.append(("." * node.level + (node.module or ""), tuple(alias.name for alias in node.names)))
        elif "__all__" in _targets(node):
            constants = [item.value for item in ast.walk(node) if isinstance(item, ast.Constant)]
            exports += [value for value in constants if isinstance(value, str) and value.isidentifier()]
    dynamic = dynamic_imports(tree)
    imports += [(module, ()) for module in dynamic.modules]
    return ModuleSource(
        digest=_tree_digest(tree),
        imports=tuple(imports),
        exports=tuple(exports),
        computes_imports=dynamic.by_name,
        runs_files=dynamic.by_file,
        runs_text=dynamic.by_text,
        finds_its_place=finds_its_place,
        words=frozenset(words),
        named=frozenset(named),
    )


def _names_in(node: ast.AST) -> tuple[str, ...]:
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        return (node.attr,)
    if isinstance(node, ast.Constant):  # `globals()["__file__"]`
        return (node.value,) if node.value in _DUNDERS else ()
    if isinstance(node, ast.Import | ast.ImportFrom):
        return (getattr(node, "module", None) or "", *(alias.name for alias in node.names))
    return ()


def _words(text: str) -> Iterator[str]:
    for part in re.split(r"[/\\]", text):
        if len(part) > _LONGEST_FILE_NAME:
            continue
        if re.search(r"[*?{}%]", part):
            yield "." + part.rpartition(".")[2]
        elif part:
            yield part
            if part.replace(".", "").isidentifier():
                yield from part.split(".")  # `importlib.resources.files("package.folder")`


def _targets(node: ast.AST) -> list[str]:
    """The variables that a statement sets or extends (`__all__.append("name")`)."""
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign | ast.AugAssign):
        targets = [node.target]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        targets = [node.func.value]
    else:
        return []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _tree_digest(tree: ast.AST) -> str:
    """A hash of a syntax tree without its positions.

    Not `ast.dump`, which recurses, and represents empty fields differently in different versions of Python.
    """
    digest = hashlib.sha256()
    stack: list[tuple[bool, Any]] = [(False, tree)]
    while stack:
        is_mark, item = stack.pop()
        if is_mark:
            digest.update(item)
        elif isinstance(item, ast.AST):
            digest.update(f"({type(item).__name__}".encode())
            stack.append((True, b")"))
            for name, value in reversed(list(ast.iter_fields(item))):
                if value is not None and value != []:
                    stack += [(False, value), (True, f" {name}=".encode())]
        elif isinstance(item, list):
            digest.update(b"[")
            stack.append((True, b"]"))
            stack += [(False, value) for value in reversed(item)]
        else:
            text = hex(item) if type(item) is int else repr(item)  # repr refuses integers of thousands of digits
            digest.update(f"{text},".encode())
    return digest.hexdigest()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

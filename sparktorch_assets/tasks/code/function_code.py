"""Which modules a function object needs to be unpickled: the one that it is imported from or, if it is pickled by value
(a lambda, a local function, a function of a notebook), those that its code refers to.
"""

import dis
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any


def modules_behind(function: Callable[..., Any]) -> set[str]:
    """The names of the modules behind a function. Some may not exist here, and some may be attributes rather than
    modules."""
    modules: set[str] = set()
    seen: set[int] = set()
    waiting: list[Any] = [function]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, ModuleType):
            modules.add(value.__name__)
        elif (module := _imported_from(value)) is not None:
            modules.add(module)
        elif isinstance(value, CodeType):
            modules |= set(_imports(value))
        waiting += _behind(value)
    return modules


def _imported_from(value: Any) -> str | None:
    """The module from which pickle imports a function or class; `None` if it is pickled by value."""
    if not isinstance(value, FunctionType | type):
        return None
    found: Any = sys.modules.get(value.__module__)
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return value.__module__ if found is value and value.__module__ != "__main__" else None


def _behind(value: Any) -> Iterator[Any]:
    """The values that are pickled together with a value that is pickled by value."""
    if isinstance(value, partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, CodeType):
        yield from (constant for constant in value.co_consts if isinstance(constant, CodeType))
    elif isinstance(value, FunctionType):
        if _imported_from(value) is None:
            yield value.__code__
            yield from (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())
            yield from _cells(value)
            yield from (value.__globals__[name] for name in _globals(value.__code__) if name in value.__globals__)
    elif isinstance(value, type):
        if _imported_from(value) is None:
            yield from (*value.__bases__, *vars(value).values())
    elif isinstance(value, staticmethod | classmethod):
        yield value.__func__
    elif isinstance(value, property):
        yield from (value.fget, value.fset)
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif isinstance(value, dict):
        yield from value.values()
    elif type(value).__module__ != "builtins":
        yield type(value)
        yield from getattr(value, "__dict__", {}).values()
        yield getattr(value, "__wrapped__", None)


def _cells(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            continue


def _globals(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals(constant)


def _imports(code: CodeType) -> Iterator[str]:
    package = ""
    for step in dis.get_instructions(code):
        if step.opname == "IMPORT_NAME":
            package = step.argval
            yield package
        elif step.opname == "IMPORT_FROM":
            yield f"{package}.{step.argval}"

"""The sentences under a declaration's fields, which editors, `dg` and the reference page show.

They are read from the class's source, where they stand next to the fields: Python itself does not keep them.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from functools import lru_cache


@lru_cache(maxsize=64)
def field_docs(declaration: type) -> Mapping[str, str]:
    """Field -> the string below it, without line breaks; inherited fields of the same package are included.

    Empty for a class whose source is not available, for instance because only its bytecode was installed.
    """
    package = declaration.__module__.partition(".")[0]
    found: dict[str, str] = {}
    for base in reversed(declaration.__mro__):
        if base.__module__.partition(".")[0] == package:
            found.update(_own_docs(base))
    return found


def _own_docs(declaration: type) -> Iterator[tuple[str, str]]:
    try:
        source = inspect.getsource(declaration)
    except OSError:
        return
    (class_,) = ast.parse(textwrap.dedent(source)).body
    assert isinstance(class_, ast.ClassDef)
    for statement, below in zip(class_.body, class_.body[1:], strict=False):
        match statement, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, " ".join(text.split())

"""Deletes cached bytecode that Python would load for a source file although it was compiled from another text.

Python compares only the size and the modification time, in whole seconds, of a source file with those recorded in its
`.pyc`. So after two edits within a second, or a deployment that gives all files the same time, the old code may run.
"""

import importlib.util
import marshal
from importlib.machinery import ModuleSpec
from pathlib import Path

from sparktorch_assets.errors import HostError

_HEADER_BYTES = 16


def drop_stale_bytecode(spec: ModuleSpec | None) -> None:
    """Delete a module's cached bytecode if Python would trust it although it was not compiled from the source.

    Raises:
        HostError: it cannot be deleted.
    """
    if spec is None or spec.origin is None or not spec.origin.endswith(".py") or not Path(spec.origin).is_file():
        return
    source, cached = Path(spec.origin), Path(importlib.util.cache_from_source(spec.origin))
    try:
        content = cached.read_bytes()
        if not _is_trusted(content, source):
            return
        compiled = compile(source.read_bytes(), spec.origin, "exec", dont_inherit=True)
        if marshal.loads(content[_HEADER_BYTES:]) == compiled:  # noqa: S302  (Python itself would load it next)
            return
    except (OSError, SyntaxError, ValueError, EOFError, TypeError):  # Python ignores such a file, or says what is wrong
        return
    try:
        cached.unlink(missing_ok=True)
    except OSError as error:
        raise HostError(
            f"{cached} was compiled from another text than {source}, and Python would run it; it cannot be deleted "
            f"({error}). Delete it and run again"
        ) from error


def _is_trusted(content: bytes, source: Path) -> bool:
    """Whether the header says that the bytecode belongs to the source: by time and size, or without any check."""
    flags = int.from_bytes(content[4:8], "little")
    if flags:
        return flags == 1  # 3 asks Python to compare a hash of the source
    status = source.stat()
    expected = (int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF)
    return (int.from_bytes(content[8:12], "little"), int.from_bytes(content[12:16], "little")) == expected

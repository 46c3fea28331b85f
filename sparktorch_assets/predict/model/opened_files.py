"""Records which files Python opens while a user's factory runs.

An audit hook sees every call of Python's `open` in the thread that runs the factory. It does not see files that a
native library opens directly (safetensors, for instance), so it serves only for a warning.
"""

import functools
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_watching = threading.local()


@contextmanager
def opened_files() -> Iterator[set[str]]:
    """A set to which the paths of files opened inside the block are added, as they were passed to `open`."""
    _install()
    found: set[str] = set()
    _watching.found = found
    try:
        yield found
    finally:
        del _watching.found


@functools.cache
def _install() -> None:  # once per process: a hook cannot be removed
    sys.addaudithook(_hook)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and (found := getattr(_watching, "found", None)) is not None:
        path = arguments[0]
        if isinstance(path, str | bytes | os.PathLike):
            found.add(os.fsdecode(path))

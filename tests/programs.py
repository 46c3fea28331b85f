"""Programs that are not Python packages: tests that need one are skipped without it, and fail where nothing may be
skipped."""

import os
import shutil
from pathlib import Path

import pytest

MUST_HAVE = "TESTS_NEED_EVERY_PROGRAM"
"""Environment variable with which a missing program is a failure: continuous integration sets it."""
_ELSEWHERE = ("/usr/sbin", "/usr/lib/postgresql/*/bin")
"""Where Debian puts programs that are not for everybody's PATH."""


def program(name: str, *, package: str) -> Path:
    """The path of a program, or the end of the test with the way to get it."""
    found = shutil.which(name) or next(
        (str(path) for folder in _ELSEWHERE for path in sorted(Path("/").glob(f"{folder[1:]}/{name}"))), None
    )
    if found is None:
        reason = f"this test needs {name}, which is not installed: apt-get install --no-install-recommends {package}"
        if os.environ.get(MUST_HAVE):
            pytest.fail(reason)
        pytest.skip(reason)
    return Path(found)

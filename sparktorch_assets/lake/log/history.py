"""Reads the `commitInfo` of commits from the log, because delta-rs 1.6.6 gives no history for a table whose path
contains `#` or `?`, and reads every commit for other tables.

Another process may delete expired commits meanwhile. What is gone is taken for older than the log.
"""

import contextlib
import io
import json
import re
from collections.abc import Generator, Iterator
from typing import Any

from sparktorch_assets.lake.files.folder import Folder

COMMIT = re.compile(r"_delta_log/(\d{20})\.json")
FIRST_COMMIT = f"_delta_log/{0:020}.json"
_AT_ONCE_BYTES = 1 << 20
"""How much is read at once of a commit. Writers put `commitInfo` first, and a million parts may follow."""


def commit_infos(folder: Folder, version: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield the `commitInfo` of `version`, or of the latest version, and of those before it, as far back as the log
    goes.

    It is empty for a commit without one: its writer wrote none, or a power failure left the log's last entry empty.
    """
    found = (COMMIT.fullmatch(entry.path) for entry in folder.files("_delta_log", recursive=False))
    commits = sorted((int(match[1]), match[0]) for match in found if match is not None)
    for number, path in reversed(commits):
        if version is None or number <= version:
            yield _commit_info(folder, path)


def _commit_info(folder: Folder, commit: str) -> dict[str, Any]:
    with contextlib.closing(_lines(folder, commit)) as lines:  # else the file would stay open as long as the iterator
        for line in lines:
            if b'"commitInfo"' in line:
                action = json.loads(line)
                if "commitInfo" in action:
                    found: dict[str, Any] = action["commitInfo"]
                    return found
    return {}


def actions_of(folder: Folder, commit: str) -> Iterator[dict[str, Any]]:
    """Yield the actions of a commit, given its path below the table's folder."""
    yield from (json.loads(line) for line in _lines(folder, commit) if line.strip())


def _lines(folder: Folder, commit: str) -> Generator[bytes]:
    try:
        log = folder.open_input(commit)
    except FileNotFoundError:
        return
    with log:
        yield from io.BufferedReader(log, _AT_ONCE_BYTES)

"""deploy/ as an administrator would have installed it, but in a temporary folder: what the services of its units run.

Nothing of the files is changed but ports and paths. Ports come from the file `environment`, as on a host.
"""

import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = {path.stem: path for path in (DEPLOY / "systemd").glob("*.service")}
HERE = {
    "/srv/dagster/venv/bin": str(Path(sys.executable).parent),
    "/srv/dagster/deploy": str(DEPLOY),
    "/etc/dagster/workspace.yaml": str(DEPLOY / "workspace.yaml"),
}
"""Path in the units -> where that is while the tests run."""


def environment() -> dict[str, str]:
    """The variables of deploy/environment."""
    lines = (DEPLOY / "environment").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def settings(unit: str) -> dict[str, list[str]]:
    """Setting -> its values in the order of the file, of a unit of systemd."""
    found: dict[str, list[str]] = {}
    for line in UNITS[unit].read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def commands(unit: str, variables: Mapping[str, str]) -> tuple[list[list[str]], list[str]]:
    """What systemd executes: the commands before the service, and the service."""
    found = settings(unit)
    (service,) = found["ExecStart"]
    return [_words(line, variables) for line in found.get("ExecStartPre", [])], _words(service, variables)


def _words(line: str, variables: Mapping[str, str]) -> list[str]:
    words = [re.sub(r"\$\{(\w+)\}", lambda name: variables[name[1]], word) for word in shlex.split(line)]
    for installed, here in HERE.items():
        words = [word.replace(installed, here, 1) if word.startswith(installed) else word for word in words]
    return words

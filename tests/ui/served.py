"""`make dev` on a project."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from servers import Server, eventually, free_ports, graphql

ROOT = Path(__file__).parents[2]
SETTINGS = "telemetry: {enabled: false}\nnux: {enabled: false}\npython_logs: {python_log_level: INFO}\n"


@dataclass
class Ui:
    """A running UI over a project."""

    address: str
    project: Path
    server: Server


def environment(project: Path, home: Path) -> dict[str, str]:
    """That of Dagster's commands in a project, with a memory of its own."""
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text(SETTINGS)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER", "PYTEST"))}
    path = os.pathsep.join([str(project), str(ROOT)])
    return kept | {"DAGSTER_HOME": str(home), "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}


@contextmanager
def serve(project: Path, folder: Path) -> Iterator[Ui]:
    """`make dev` in that project, once the code location is there. What it prints and remembers is in `folder`."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "sparktorch_assets.orchestration.commands.dev", "--port", str(port)]
    env = environment(project, folder / "home")
    server = Server(command, log=folder / "server.log", env=env, cwd=project)
    address = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: graphql(address, "{ assetNodes { id } }")["assetNodes"], seconds=180, servers=[server])
        yield Ui(address, project, server)
    finally:
        server.stop(signal.SIGINT)  # Ctrl-C

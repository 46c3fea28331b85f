"""Open the project in Dagster's UI, which only this machine can reach.

    python -m sparktorch_assets.orchestration.commands.dev [--port 3000]

This is `dagster dev` on loopback with the project's own DAGSTER_HOME. It has no authentication: never bind it to
another address.
"""

import argparse
import os
import socket
import sys
from pathlib import Path

from sparktorch_assets.errors import HostError
from sparktorch_assets.orchestration.commands.dagster_home import use_dagster_home

HOST = "127.0.0.1"
DEFAULT_PORT = 3000
WORKSPACE = "workspace.yaml"


def main(arguments: list[str] | None = None) -> None:
    """Check the port, then replace this process with `dagster dev`."""
    parser = argparse.ArgumentParser(
        prog="python -m sparktorch_assets.orchestration.commands.dev", description="Open the UI."
    )
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    port = parser.parse_args(arguments).port
    try:
        require_free_port(port)
    except HostError as error:
        sys.exit(f"error: {error}")
    use_dagster_home(Path.cwd())
    print(f"Dagster's UI: http://{HOST}:{port} (Ctrl-C to stop)", flush=True)  # noqa: T201  (a command's output)
    print("Schedules and sensors, and which of them are on: Automation, and docs/refresh.md", flush=True)  # noqa: T201
    command = [sys.executable, "-m", "dagster", "dev", "-w", WORKSPACE, "-h", HOST, "-p", str(port)]
    os.execv(sys.executable, command)  # noqa: S606


def require_free_port(port: int) -> None:
    """Raise HostError if something already listens on `port`."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise HostError(
                f"port {port} on {HOST} is taken, perhaps by another `make dev`: stop it, or choose another port with "
                f"`make dev PORT={port + 1}`"
            ) from error


if __name__ == "__main__":
    main()

"""Starts a Spark Connect server on this machine, so that several processes work side by side in one Spark application.

    python -m sparktorch_assets.spark.session.server [--port 15002] [--master 'local[*]'] [--memory 4g]

It has the settings of this library's own sessions, and listens for clients on the loopback address only. Every user of this machine
can reach that, so the server also asks for a token. Ctrl-C stops it. What it prints tells other processes where it is:

    export SPARK_REMOTE=sc://localhost:15002 SPARK_CONNECT_AUTHENTICATE_TOKEN=...
"""

import argparse
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from sparktorch_assets.errors import HostError
from sparktorch_assets.spark.session.config import default_config, is_local, runs_on_this_host
from sparktorch_assets.spark.session.java import JavaHome
from sparktorch_assets.spark.session.start import TOKEN, prepare_host, require_free_port
from sparktorch_assets.spark.session.startup.class_archive import with_class_archive
from sparktorch_assets.spark.session.startup.preloaded_workers import with_preloaded_workers

_HOST = "127.0.0.1"
_PORT = 15002
_MAIN_CLASS = "org.apache.spark.sql.connect.service.SparkConnectServer"
_OF_CLIENTS = ("SPARK_REMOTE", "SPARK_LOCAL_REMOTE", "SPARK_CONNECT_MODE_ENABLED")
"""Variables that would make a client of the server itself."""


def server_command(master: str, port: int, memory: str, java: JavaHome | None = None) -> list[str]:
    """The command that runs the server.

    Args:
        master: the cores that all clients share: `local[*]` for all of this machine's, `local[4]` for four, or a
            cluster's, such as `spark://host:7077`.
        port: the port of the loopback address.
        memory: the memory of its Java process, such as `4g`. Models are in the memory of its Python workers.
        java: what the server will run on; if it is not known, no archive of its classes is used.
    """
    import pyspark

    settings = {
        **default_config(master),
        "spark.driver.memory": memory,
        "spark.connect.grpc.binding.address": _HOST,  # whatever the master: executors reach the driver by another port
        "spark.connect.grpc.binding.port": str(port),
        # Without this, the tasks of one run wait until all those of an earlier one are done.
        "spark.scheduler.mode": "FAIR",
    }
    if is_local(master):
        settings, _ = with_class_archive(with_preloaded_workers(settings, {}), {}, java)
    submit = Path(pyspark.__path__[0], "bin", "spark-submit")
    options = [option for key, value in settings.items() for option in ("--conf", f"{key}={value}")]
    return [str(submit), "--class", _MAIN_CLASS, "--master", master, *options, "spark-internal"]


def server_environment(master: str, given: Mapping[str, str]) -> dict[str, str]:
    """The environment of the server: this one, with a token, and with no address of another server."""
    kept = {name: value for name, value in given.items() if name not in _OF_CLIENTS}
    # On a cluster, executors on other hosts have to reach the driver.
    of_this_host = {"SPARK_LOCAL_IP": _HOST} if runs_on_this_host(master) else {}
    return {**kept, TOKEN: given.get(TOKEN) or secrets.token_urlsafe(24), **of_this_host, "SPARK_CONNECT_MODE": "0"}


def main(arguments: list[str] | None = None) -> None:
    """Check the host and the port, say where the server will be, and replace this process with it."""
    parser = argparse.ArgumentParser(prog="python -m sparktorch_assets.spark.session.server", description=__doc__)
    parser.add_argument("--port", type=int, default=_PORT)
    parser.add_argument("--master", default="local[*]")
    parser.add_argument("--memory", default="4g")
    given = parser.parse_args(arguments)
    try:
        require_free_port(given.port)
        java = prepare_host(given.master, {})
    except HostError as error:
        sys.exit(f"error: {error}")
    command = server_command(given.master, given.port, given.memory, java)
    environment = server_environment(given.master, os.environ)
    # With a token, the client wants TLS of every host but `localhost`.
    print(  # noqa: T201  (a command's output)
        f"Spark Connect server on {given.master} (Ctrl-C to stop). In another terminal:\n\n"
        f"    export SPARK_REMOTE=sc://localhost:{given.port} {TOKEN}={environment[TOKEN]}\n",
        flush=True,
    )
    os.execve(command[0], command, environment)  # noqa: S606


if __name__ == "__main__":
    main()

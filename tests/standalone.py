"""A standalone cluster of pip's pyspark: a master on the first host, and a worker on each of the others."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyspark
from hosts import Host
from servers import Server, eventually, free_ports

from sparktorch_assets.spark.session.java import prepare_java

_BIN = Path(pyspark.__file__).parent / "bin"
SMALL = {
    "SPARK_DAEMON_MEMORY": "256m",
    "SPARK_DAEMON_JAVA_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dspark.master.rest.enabled=false",
}
"""Variables for masters and workers that take little of the machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """A running cluster."""

    url: str
    """The master's address: `spark://10.77.0.1:7077`."""
    driver: Host
    """The host on which the master runs, and applications should start."""
    workers: Sequence[Host]
    """The hosts of the workers, which run the executors."""
    master: Server
    folder: Path
    """The shared folder, as this process sees it; for the hosts it is `host.shared`."""

    def executors(self, worker: Host) -> list[psutil.Process]:
        """The processes of the executors that run on a worker's host at present."""
        return worker.processes("CoarseGrainedExecutorBackend")

    def said(self) -> str:
        """The ends of what master and workers have printed."""
        return "\n".join(server.said() for host in (self.driver, *self.workers) for server in host.servers)


@contextmanager
def standalone(
    found: Sequence[Host], folder: Path, *, cores: int = 1, memory: str = "1g", **env: str
) -> Iterator[Cluster]:
    """Start a cluster on these hosts, and stop it.

    Args:
        found: the hosts; the first one gets the master.
        folder: the one with which the hosts were made.
        cores: of each worker.
        memory: of each worker; an executor needs `spark.executor.memory` of it.
        env: environment variables of the workers.
    """
    driver, *workers = found
    prepare_java()
    (port,) = [7077] if driver.is_apart else free_ports(1)
    url = f"spark://{driver.address}:{port}"
    master = start_master(driver, port)
    for number, worker in enumerate(workers):
        start_worker(worker, url, number, cores=cores, memory=memory, **env)
    try:
        eventually(
            lambda: registered_workers(master) == len(workers),
            seconds=300,
            servers=[server for host in found for server in host.servers],
        )
        yield Cluster(url=url, driver=driver, workers=workers, master=master, folder=folder / "shared")
    finally:
        for host in found:
            for server in reversed(host.servers):
                server.kill()


def start_master(host: Host, port: int) -> Server:
    """Start a master on a host."""
    command = [_BIN / "spark-class", "org.apache.spark.deploy.master.Master"]
    return host.server("master", [*command, "--host", host.address, "--port", str(port), "--webui-port", "0"], **SMALL)


def start_worker(host: Host, url: str, number: int = 0, *, cores: int = 1, memory: str = "1g", **env: str) -> Server:
    """Start a worker on a host. Its applications' logs and files go to a folder that is the host's alone."""
    command = [_BIN / "spark-class", "org.apache.spark.deploy.worker.Worker", "--cores", str(cores), "--memory", memory]
    command += ["--work-dir", str(host.own / f"spark-work-{number}"), "--webui-port", "0", url]
    if not host.is_apart:
        command[2:2] = ["--host", host.address]
    return host.server(f"worker-{number}", command, **SMALL, **env)


def registered_workers(master: Server) -> int:
    """The number of workers that have registered with a master so far."""
    return len(re.findall(r"Registering worker", master.log.read_text(errors="replace")))

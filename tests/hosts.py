"""Hosts on one machine: each has an address, a name, a `/tmp` and processes of its own (Linux namespaces), and shares one
folder with the others, as if it were mounted from an NFS server.

A host lives as long as its first process, which ends when its standard input does: when the test run ends, in whatever
way, the kernel ends every process of the host and removes its network. Nothing is left to delete.
"""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from programs import MUST_HAVE
from servers import Server

ROOT = Path(__file__).parents[1]
SHARED = Path("/mnt/shared")
"""Where a host of its own has the shared folder."""
_NETWORK = "10.77.0"
_UNSHARE = ("unshare", "--net", "--uts", "--pid", "--fork", "--mount-proc")
_FIRST_PROCESS = """
set -eu
hostname "$1"
mount -t tmpfs tmpfs /mnt
mkdir /mnt/shared
mount --bind "$2" /mnt/shared
mount --bind "$3" /etc/hosts
shift 3
for kept do mkdir -p "/mnt/kept$kept"; mount --bind "$kept" "/mnt/kept$kept"; done
mount -t tmpfs tmpfs /tmp
for kept do mkdir -p "$kept"; mount --bind "/mnt/kept$kept" "$kept"; done
trap '' CHLD
echo ready
exec cat
"""


class Host:
    """A machine for tests to run programs on. This one is the machine itself, and all hosts of this kind are one."""

    is_apart = False
    """Whether it has an address, a `/tmp` and processes of its own."""

    def __init__(self, name: str, address: str, *, shared: Path, logs: Path) -> None:
        self.name, self.address = name, address
        self.shared = shared
        """The shared folder, as programs of this host see it."""
        self.own = logs / name
        """A folder that no other host uses."""
        self.own.mkdir(exist_ok=True)
        self._logs = logs
        self.servers: list[Server] = []

    def server(self, log: str, command: Sequence[str | Path], **env: str) -> Server:
        """Start a program that goes on until it is stopped, or the host ends."""
        path = self._logs / f"{self.name}-{log}.log"
        server = Server(self._inside(command), log=path, env=self._environment(env), cwd=self._logs)
        self.servers.append(server)
        return server

    def run(
        self, command: Sequence[str | Path], *, timeout: float = 240, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        process = subprocess.Popen(
            [str(word) for word in self._inside(command)],
            env=self._environment(env),
            cwd=self._logs,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            for one in [*psutil.Process(process.pid).children(recursive=True), process]:
                one.kill()
            process.communicate()
            raise
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def processes(self, words: str) -> list[psutil.Process]:
        """The processes of the host's servers whose command line contains these words. Their numbers are this
        machine's."""
        found = []
        for server in self.servers:
            if server.process.poll() is None:
                for one in psutil.Process(server.process.pid).children(recursive=True):
                    if words in " ".join(_command_line(one)):
                        found.append(one)
        return found

    def stop(self) -> None:
        """Stop what was started here."""
        for server in reversed(self.servers):
            server.kill()

    def _inside(self, command: Sequence[str | Path]) -> Sequence[str | Path]:
        return command

    def _environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """What a host knows: its programs and this library; nothing of the environment in which the tests run."""
        kept = {name: os.environ[name] for name in ("PATH", "JAVA_HOME", "LANG", "HOME") if name in os.environ}
        return kept | {"PYTHONPATH": str(ROOT), "SPARK_LOCAL_IP": "127.0.0.1"} | env


class HostApart(Host):
    """A host in namespaces of its own."""

    is_apart = True

    def __init__(self, name: str, address: str, *, shared: Path, logs: Path, hosts_file: Path) -> None:
        super().__init__(name, address, shared=SHARED, logs=logs)
        self.own = Path("/tmp")
        needed = {str(ROOT), sys.prefix, sys.base_prefix, str(Path(sys.executable).resolve().parent)}
        kept = sorted(path for path in needed if path.startswith("/tmp/"))
        self._unshare = subprocess.Popen(
            [
                *_UNSHARE,
                "--propagation",
                "private",
                "--",
                "sh",
                "-c",
                _FIRST_PROCESS,
                "host",
                name,
                shared,
                hosts_file,
                *kept,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._unshare.stdout is not None
        assert self._unshare.stdout.readline() == "ready\n", f"host {name} did not start"
        self.pid = psutil.Process(self._unshare.pid).children()[0].pid
        """The number of its first process on this machine."""

    def stop(self) -> None:
        """End the host, with all its processes."""
        super().stop()
        self._unshare.communicate()

    def _inside(self, command: Sequence[str | Path]) -> Sequence[str | Path]:
        return [
            "nsenter",
            f"--target={self.pid}",
            "--net",
            "--uts",
            "--pid",
            "--mount",
            f"--wdns={SHARED}",
            "--",
            *command,
        ]

    def _environment(self, env: Mapping[str, str]) -> dict[str, str]:
        apart = super()._environment({"HOME": "/tmp"} | env)
        return {name: value for name, value in apart.items() if name != "SPARK_LOCAL_IP"}


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@functools.cache
def why_not_apart() -> str:
    """Why hosts cannot be made of namespaces here; empty if they can."""
    for name, package in (("ip", "iproute2"), ("unshare", "util-linux"), ("nsenter", "util-linux")):
        if shutil.which(name) is None:
            return f"{name} is not installed (apt-get install --no-install-recommends {package})"
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    tried = subprocess.run(
        [
            *_UNSHARE,
            "--",
            "ip",
            "link",
            "add",
            "eth0",
            "type",
            "bridge",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return tried.stderr.strip() if tried.returncode else ""


@contextmanager
def hosts(names: Sequence[str], folder: Path) -> Iterator[list[Host]]:
    """Hosts with these names, connected with one another and with nothing else. The first one has the switch.

    Where they cannot be made, all of them are this machine, on loopback; where continuous integration demands every
    program, that is a failure.

    Args:
        names: the hosts' names.
        folder: for the folder that they share, `shared`, and for the logs of what runs on them.
    """
    shared, logs = folder / "shared", folder / "logs"
    for made in (shared, logs):
        made.mkdir()
    reason = why_not_apart()
    if reason and os.environ.get(MUST_HAVE):
        pytest.fail(f"these tests need hosts with addresses of their own: {reason}")
    with ExitStack() as stack:
        if reason:
            found: list[Host] = [Host(name, "127.0.0.1", shared=shared, logs=logs) for name in names]
            for host in found:
                stack.callback(host.stop)
        else:
            addresses = [f"{_NETWORK}.{number}" for number in range(1, len(names) + 1)]
            hosts_file = folder / "hosts"
            lines = ["127.0.0.1 localhost", *map(" ".join, zip(addresses, names, strict=True))]
            hosts_file.write_text("\n".join(lines) + "\n")
            found = []
            for name, address in zip(names, addresses, strict=True):
                host = HostApart(name, address, shared=shared, logs=logs, hosts_file=hosts_file)
                stack.callback(host.stop)
                _connect(host, found[0] if found else None)
                found.append(host)
        yield found


def _connect(host: HostApart, first: Any) -> None:
    """Give the host its address: that of a bridge, if it is the first one, else of one end of a cable to that bridge."""
    _in_network(host, "link", "set", "lo", "up")
    if first is None:
        _in_network(host, "link", "add", "eth0", "type", "bridge")
    else:
        cable = ("type", "veth", "peer", "name", "eth0", "netns", str(host.pid))
        _in_network(first, "link", "add", f"to-{host.name}", *cable)
        _in_network(first, "link", "set", f"to-{host.name}", "master", "eth0", "up")
    _in_network(host, "addr", "add", f"{host.address}/24", "dev", "eth0")
    _in_network(host, "link", "set", "eth0", "up")


def _in_network(host: HostApart, *words: str) -> None:
    subprocess.run(["nsenter", f"--target={host.pid}", "--net", "--", "ip", *words], check=True)

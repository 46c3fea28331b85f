"""Servers in processes of their own: started on free ports of loopback, waited for, asked, and stopped with all their
children."""

import json
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil

T = TypeVar("T")
GRACE_S = 30


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on; all different, since they are held at the same time."""
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


class Server:
    """A process that serves until it is stopped. What it prints goes to a file."""

    def __init__(
        self, command: Sequence[str | Path], *, log: Path, env: Mapping[str, str], cwd: Path, **as_user: Any
    ) -> None:
        self.name, self.log = log.stem, log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
                **as_user,
            )

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """As a service manager does: ask, wait, and then end it with all its descendants."""
        descendants = self._descendants()
        if self.process.poll() is None:
            self.process.send_signal(how)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE_S)
        self._end([*descendants, *self._descendants()])

    def kill(self) -> None:
        """What a power failure does to it."""
        self._end(self._descendants())

    def _descendants(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def _end(self, descendants: Sequence[psutil.Process]) -> None:
        self.process.kill()
        for one in descendants:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self.process.wait()

    def said(self) -> str:
        """The end of what it printed."""
        return f"--- {self.name}\n" + self.log.read_text(errors="replace")[-4000:]


def eventually(look: Callable[[], T], *, seconds: float = 120, servers: Sequence[Server] = ()) -> T:
    """What `look` gives as soon as it is neither empty nor an error of the network. A server that has ended ends this."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        for server in servers:
            assert server.process.poll() is None, f"{server.name} has ended\n{server.said()}"
        try:
            last = look()
            if last:
                return last
        except (OSError, urllib.error.URLError) as error:
            last = error
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds:g} s; last seen: {last!r}\n" + "\n".join(map(Server.said, servers)))


def graphql(address: str, query: str, variables: Mapping[str, Any] | None = None, **options: Any) -> Any:
    """The data that a Dagster server answers. `options` are headers, with `_` for `-`, and `context` for TLS."""
    context = options.pop("context", None)
    body = json.dumps({"query": query, "variables": variables or {}}).encode()
    headers = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in options.items()}}
    request = urllib.request.Request(f"{address}/graphql", body, headers)
    with urllib.request.urlopen(request, timeout=30, context=context) as answer:
        found = json.load(answer)
    assert "errors" not in found, found["errors"]
    return found["data"]

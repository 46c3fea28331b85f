"""The hosts that the tests of clusters use are hosts apart: nothing of one reaches another but by network and share."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hosts import hosts, why_not_apart
from servers import eventually

pytestmark = pytest.mark.cluster

needs_namespaces = pytest.mark.skipif(
    bool(why_not_apart()) and not os.environ.get("TESTS_NEED_EVERY_PROGRAM"), reason=why_not_apart()
)


@needs_namespaces
def test_hosts_share_a_network_and_one_folder_and_nothing_else(tmp_path):
    """Names, addresses, `/tmp`, processes and loopback are each host's own."""
    with hosts(["one", "two"], tmp_path) as (one, two):
        assert [host.run(["hostname"]).stdout.strip() for host in (one, two)] == ["one", "two"]
        one.run(["sh", "-c", "touch /tmp/mine; echo shared > there"])
        assert two.run(["sh", "-c", "test ! -e /tmp/mine && cat there"]).stdout == "shared\n"
        assert (tmp_path / "shared" / "there").read_text() == "shared\n"
        assert not Path("/tmp/mine").exists()
        serve = "import socket; s = socket.create_server(('', 7000)); print('up', flush=True)\nwhile 1: s.accept()"
        server = one.server("listen", [sys.executable, "-c", serve])
        while "up" not in server.log.read_text():
            assert server.process.poll() is None, server.said()
        connect = "import socket, sys; socket.create_connection((sys.argv[1], 7000), timeout=5)"
        assert two.run([sys.executable, "-c", connect, "127.0.0.1"]).returncode == 1
        assert two.run([sys.executable, "-c", connect, "one"]).returncode == 0
        assert len(one.processes("socket.create_server")) == 1


@needs_namespaces
def test_a_killed_test_run_leaves_no_host(tmp_path):
    """Nobody is left to clean up then: a host ends with the process that made it."""
    program = (
        "import sys, pathlib, os, signal; from hosts import hosts\n"
        "with hosts(['one'], pathlib.Path(sys.argv[1])) as (host,):\n"
        "    host.server('sleep', ['sleep', '1000'])\n"
        "    print(host.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    first = Path("/proc", done.stdout.strip())
    eventually(lambda: not first.exists(), seconds=10)

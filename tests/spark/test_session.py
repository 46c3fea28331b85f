"""One session a process: what fits is shared, what does not is refused with a reason."""

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sparktorch_assets.errors import HostError
from sparktorch_assets.spark.session.dead_session import forget_dead_sessions, require_server
from sparktorch_assets.spark.session.start import TOKEN, start_session
from sparktorch_assets.spark.session.worker_python import check_session_python


def test_the_running_session_is_shared(spark):
    """Asking again for the same, or for any local master, gives the session that runs."""
    assert start_session(master="local[2]") is spark
    assert start_session() is spark
    assert os.environ["PYSPARK_PYTHON"]


@pytest.mark.parametrize("master", ["local[3]", "spark://127.0.0.1:7077"])
def test_another_master_is_refused(spark, master):
    """Spark would silently go on with the old one."""
    with pytest.raises(HostError, match=r"on master 'local\[2\]' runs in this process.*spark.stop\(\)"):
        start_session(master=master)


def test_connect_beside_a_classic_session_is_refused(spark):
    """Spark allows one kind a process."""
    with pytest.raises(HostError, match=r"classic Spark session runs in this process.*spark.stop\(\)"):
        start_session(remote="sc://127.0.0.1:15002")


def test_settings_that_come_too_late_are_named(spark, caplog):
    """Static settings of a running session cannot change; session settings do."""
    with caplog.at_level(logging.WARNING):
        start_session(config={"spark.driver.memory": "7g", "spark.sql.shuffle.partitions": 2})
    assert "these come too late: spark.driver.memory. Stop it first" in caplog.text
    assert "shuffle" not in caplog.text


def test_defaults_hold(spark):
    """Arrow, UTC, loopback, no UI, no folder in the current directory."""
    assert spark.conf.get("spark.sql.session.timeZone") == "UTC"
    assert spark.conf.get("spark.sql.execution.arrow.pyspark.enabled") == "true"
    assert spark.sparkContext.uiWebUrl is None
    assert spark.conf.get("spark.driver.host") == "127.0.0.1"
    assert not {"spark-warehouse", "artifacts", "metastore_db", "work"} & {path.name for path in Path.cwd().iterdir()}


PROGRAM = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from sparktorch_assets.spark.session.dead_session import forget_dead_sessions
from sparktorch_assets.spark.session.start import start_session
where = {sys.argv[1]: "local[2]"}
barrier = threading.Barrier(4)
def start(number):
    barrier.wait()
    zone = {"spark.sql.session.timeZone": "Europe/Berlin"} if number == 0 else {}
    return start_session(**where, config={"spark.driver.memory": "1g", **zone})
with ThreadPoolExecutor(4) as pool:
    sessions = list(pool.map(start, range(4)))
print({session.conf.get("spark.sql.session.timeZone") for session in sessions})
sessions[0].stop()
"""


@pytest.mark.slow
@pytest.mark.jvm
@pytest.mark.parametrize("kind", ["master", "remote"])
def test_threads_that_start_a_session_at_once_keep_the_zone_that_one_of_them_asked_for(kind):
    """The others asked for none: our default is not set over it."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.strip() == "{'Europe/Berlin'}", done.stderr


KILLED = """
import os, signal, sys, time
from sparktorch_assets.spark.session.dead_session import forget_dead_sessions
from sparktorch_assets.spark.session.start import start_session
where = {sys.argv[1]: "local[1]"}
config = {"spark.driver.memory": "1g"}
first = start_session(**where, config=config)
assert first.range(3).count() == 3
from pyspark import SparkContext
os.kill(SparkContext._jvm.java.lang.ProcessHandle.current().pid(), signal.SIGKILL)
second = start_session(**where, config=config)
assert second is not first
print("COUNT", second.range(5).count(), start_session(**where) is second)
if sys.argv[1] == "master":
    SparkContext._active_spark_context._jsc.sc().stop()  # as Spark itself does after some errors
    third = start_session(**where, config=config)
    print("COUNT", third.range(7).count())
    third.stop()
else:
    second.stop()
"""


@pytest.mark.slow
@pytest.mark.jvm
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["master", "remote"])
def test_a_session_whose_jvm_was_killed_is_given_up_for_a_new_one(kind):
    """Also a Connect server inside of this process, and a context that was stopped behind Python's back."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, kind],
        env={**{key: value for key, value in os.environ.items() if key != "SPARK_REMOTE"}, "SPARK_TESTING": "1"},
        capture_output=True,
        text=True,
        timeout=290,
        check=False,
    )
    wanted = ["COUNT 5 True", "COUNT 7"] if kind == "master" else ["COUNT 5 True"]
    assert done.stdout.splitlines() == wanted, done.stdout + done.stderr[-4000:]
    assert "is gone; the session is discarded" in done.stderr


def test_a_jvm_that_had_started_this_process_cannot_be_replaced(monkeypatch):
    """spark-submit's driver, with a fake gateway: the way out is said."""

    def refuse():
        raise ConnectionRefusedError

    system = SimpleNamespace(nanoTime=refuse)
    gateway = SimpleNamespace(jvm=SimpleNamespace(java=SimpleNamespace(lang=SimpleNamespace(System=system))))
    monkeypatch.setattr("pyspark.SparkContext._gateway", gateway)
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", "1")
    with pytest.raises(HostError, match=r"Java process has ended.*Start the application again"):
        start_session()


GONE = """
import os, signal, subprocess, sys
from sparktorch_assets.errors import HostError
from sparktorch_assets.spark.session.dead_session import forget_dead_sessions
from sparktorch_assets.spark.session.start import start_session
ENVIRONMENT = dict(os.environ)  # pyspark marks its own, once a Connect session runs
SERVER = '''
import os, sys
from sparktorch_assets.spark.session.dead_session import forget_dead_sessions
from sparktorch_assets.spark.session.start import start_session
config = {"spark.driver.memory": "1g", "spark.plugins": "org.apache.spark.sql.connect.SparkConnectPlugin",
          "spark.connect.grpc.binding.port": sys.argv[1], "spark.connect.grpc.binding.address": "127.0.0.1"}
spark = start_session(master="local[1]", config=config)
print(spark._jvm.java.lang.ProcessHandle.current().pid(), flush=True)
sys.stdin.read()
spark.stop()
'''
def serve():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    server = subprocess.Popen([sys.executable, "-c", SERVER, sys.argv[1]], env=ENVIRONMENT, **pipes)
    return server, int(server.stdout.readline())
def end(server, jvm):
    os.kill(jvm, signal.SIGKILL)
    server.kill()
    server.wait()
remote = f"sc://127.0.0.1:{sys.argv[1]}"
one = serve()
spark = start_session(remote=remote)
print("COUNT", spark.range(3).count(), start_session(remote=remote) is spark)
end(*one)
one = serve()
print("COUNT", start_session(remote=remote).range(5).count())
end(*one)
try:
    start_session(remote=remote)
except HostError as error:
    print(error, flush=True)
os._exit(0)  # pyspark's threads may go on trying to reach the server
"""


@pytest.mark.slow
@pytest.mark.jvm
@pytest.mark.timeout(400)
def test_a_connect_server_that_was_started_anew_or_has_gone_is_noticed():
    """The client's own tries would take ten minutes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-c", GONE, str(port)],
        env={key: value for key, value in os.environ.items() if key not in ("SPARK_REMOTE", "SPARK_TESTING")},
        capture_output=True,
        text=True,
        timeout=390,
        check=False,
    )
    said = done.stdout.splitlines()
    assert said[:2] == ["COUNT 3 True", "COUNT 5"], done.stdout + done.stderr[-4000:]
    assert said[2].startswith(f"no Spark Connect server can be reached at 'sc://127.0.0.1:{port}'")


@pytest.mark.promise("O270")
@pytest.mark.parametrize(
    ("host", "token", "asks_for_tls"), [("127.0.0.1", "t", True), ("127.0.0.1", None, False), ("localhost", "t", False)]
)
def test_a_server_that_a_token_makes_unreachable_is_explained(monkeypatch, host, token, asks_for_tls):
    """Spark's client wants TLS of every host but `localhost` once it has a token, and says nothing of it."""
    monkeypatch.setattr("sparktorch_assets.spark.session.dead_session._SERVER_WAIT_S", 0.2)
    monkeypatch.delenv(TOKEN, raising=False)
    if token:
        monkeypatch.setenv(TOKEN, token)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        with pytest.raises(HostError, match="no Spark Connect server can be reached") as caught:
            require_server(f"sc://{host}:{silent.getsockname()[1]}")
    assert ("every host but `localhost` for TLS" in str(caught.value)) == asks_for_tls
    assert ("(on this host, to sc://localhost:...)" in str(caught.value)) == asks_for_tls


def test_a_session_whose_workers_run_another_python_is_refused(tmp_path):
    """A session that the user started runs the PATH's python3 unless told otherwise: said before anything runs."""
    bare = tmp_path / "python3"
    bare.write_text(f"#!/bin/sh\necho '{sys.version_info[0]}.{sys.version_info[1]}' pyarrow torch sparktorch_assets\n")
    bare.chmod(0o755)
    session = SimpleNamespace(_sc=SimpleNamespace(master="local[2]", pythonExec=str(bare)))
    with pytest.raises(HostError, match="no sparktorch_assets: install the same packages.*set PYSPARK_PYTHON"):
        check_session_python(session)
    check_session_python(SimpleNamespace(_sc=SimpleNamespace(master="local[2]", pythonExec=sys.executable)))
    check_session_python(SimpleNamespace())  # Spark Connect: the server's affair


@pytest.mark.promise("O163")
def test_what_a_stopped_connect_session_leaves_in_the_environment_is_forgotten(monkeypatch):
    """pyspark 4.3 leaves the variable, and would refuse a classic session because of it."""
    monkeypatch.setenv("SPARK_CONNECT_MODE_ENABLED", "1")
    monkeypatch.delenv("SPARK_LOCAL_REMOTE", raising=False)
    forget_dead_sessions()
    assert "SPARK_CONNECT_MODE_ENABLED" not in os.environ

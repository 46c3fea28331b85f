"""Several processes on one Spark Connect server: side by side, each exact, and independent of one another."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from served_location import POISON

from sparktorch_assets.spark.session.server import server_command, server_environment
from sparktorch_assets.spark.session.start import TOKEN

LOCATION = Path(__file__).with_name("served_location.py")
ROWS = 1_050
"""Of a file, which is large enough for a shard of its own."""


@pytest.mark.promise("O160")
def test_the_server_listens_on_the_loopback_address_alone_and_asks_for_a_token():
    command = server_command("local[3]", 15002, "4g")
    settings = dict(option.split("=", 1) for option in command if option.startswith("spark.") and "=" in option)
    assert settings["spark.connect.grpc.binding.address"] == "127.0.0.1"
    assert settings["spark.driver.memory"] == "4g"
    assert settings["spark.scheduler.mode"] == "FAIR"
    assert Path(command[0]).is_file()
    made = [server_environment("local[3]", {"SPARK_REMOTE": "sc://elsewhere", "HOME": "/h"}) for _ in range(2)]
    assert made[0][TOKEN] != made[1][TOKEN]
    assert len(made[0][TOKEN]) >= 24
    assert "SPARK_REMOTE" not in made[0]
    assert made[0]["HOME"] == "/h"
    assert server_environment("local[3]", {TOKEN: "mine"})[TOKEN] == "mine"
    assert not [option for option in command if made[0][TOKEN] in option]  # others see a command's arguments


@pytest.mark.promise("O160")
def test_a_server_in_front_of_a_cluster_is_reached_by_executors_and_not_by_other_hosts_clients():
    """Its driver listens on the host's own address, and its service on the loopback address still."""
    command = server_command("spark://host:7077", 15002, "4g")
    assert "spark.connect.grpc.binding.address=127.0.0.1" in command
    assert not [option for option in command if option.startswith("spark.driver.host=")]
    assert "SPARK_LOCAL_IP" not in server_environment("spark://host:7077", {})
    assert server_environment("local-cluster[2,1,1024]", {})["SPARK_LOCAL_IP"] == "127.0.0.1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables that lead to a server of two cores."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    said = tmp_path_factory.mktemp("server") / "said"
    kept = {name: value for name, value in os.environ.items() if name not in ("SPARK_REMOTE", TOKEN)}
    module = "sparktorch_assets.spark.session.server"
    with said.open("w") as output:
        command = [sys.executable, "-m", module, "--port", str(port), "--master", "local[2]", "--memory", "1g"]
        process = subprocess.Popen(
            command,
            env=kept,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A shell's background jobs ignore it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  (a plain system call)
        )
    try:
        while not answers(port):
            assert process.poll() is None, said.read_text()
            time.sleep(0.2)
        (line,) = [line for line in said.read_text().splitlines() if "export" in line]
        yield dict(word.split("=", 1) for word in line.split()[1:])
    finally:
        process.send_signal(signal.SIGINT)  # Ctrl-C
        try:
            process.wait(60)
        finally:
            process.kill()
    assert not answers(port)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def project(tmp_path: Path, dagster_home: Path, server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SERVED_PROJECT", str(tmp_path))
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as instance:  # two processes that make its databases at once trip over each other
        assert not instance.get_runs()
    for number in range(4):
        rows = {"n": [number] * ROWS, "x": [float(row % 3 - 1) for row in range(ROWS)]}
        write_deltalake(tmp_path / "data/lake/numbers", pa.table(rows), mode="append")
    return tmp_path


def execute(job: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "dagster", "job", "execute", "-f", str(LOCATION), "-j", job]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(run: "subprocess.Popen[str]") -> None:
    output, _ = run.communicate(timeout=400)
    assert run.returncode == 0, output[-3000:]


def check(project: Path, task: str) -> None:
    found = DeltaTable(project / "data/lake/predictions" / task).to_pyarrow_table().to_pylist()
    assert len(found) == 4 * ROWS
    assert all(row["predicted_class"] == ("yes" if row["x"] > 0 else "no") for row in found)


@pytest.mark.slow
@pytest.mark.jvm
@pytest.mark.timeout(900)
@pytest.mark.promise("O161")
def test_assets_of_one_run_go_side_by_side_in_processes_of_their_own(project: Path):
    finish(execute("side_by_side"))
    check(project, "one")
    check(project, "two")
    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
        steps = instance.get_run_step_stats(run.run_id)
        pids = {
            entry.dagster_event.pid for entry in instance.all_logs(run.run_id) if entry.step_key and entry.dagster_event
        }
    assert max(step.start_time for step in steps) < min(step.end_time for step in steps)
    assert len({pid for pid in pids if pid}) >= 2


@pytest.mark.slow
@pytest.mark.jvm
@pytest.mark.timeout(900)
@pytest.mark.promise("O162")
def test_a_run_that_is_stopped_leaves_the_others_alone(project: Path):
    """While one run hangs on one of the two cores, another one finishes; and so does one after it was stopped."""
    write_deltalake(project / "data/lake/numbers", pa.table({"n": [9], "x": [POISON]}), mode="append")
    hanging = execute("hang")
    try:
        began = time.monotonic()
        while not list((project / "data/lake/predictions/hanging").glob("part-*.parquet")):
            assert hanging.poll() is None
            assert time.monotonic() - began < 300
            time.sleep(0.2)
        DeltaTable(project / "data/lake/numbers").delete(f"x = {POISON}")
        finish(execute("side_by_side"))
        assert hanging.poll() is None
        hanging.send_signal(signal.SIGINT)
        assert hanging.wait(60) != 0
    finally:
        hanging.kill()
    check(project, "one")
    finish(execute("hang"))
    check(project, "hanging")


BOTH_KINDS = """
import os
from sparktorch_assets.spark.session.start import start_session
connected = start_session()
first = type(connected).__module__, connected.range(10).count()
connected.stop()
del os.environ["SPARK_REMOTE"]
classic = start_session(master="local[1]", config={"spark.driver.memory": "512m"})
print(*first, type(classic).__module__, classic.range(3).count())
classic.stop()
"""


@pytest.mark.slow
@pytest.mark.jvm
@pytest.mark.promise("O160", "O163", "O270")
def test_a_process_can_go_from_the_server_to_a_session_of_its_own(server: dict[str, str]):
    """And without the token, or with another, the server refuses it, and the error says what to set."""
    command = [sys.executable, "-c", BOTH_KINDS]
    done = subprocess.run(
        command, env={**os.environ, **server}, capture_output=True, text=True, timeout=250, check=False
    )
    assert done.stdout.split() == ["pyspark.sql.connect.session", "10", "pyspark.sql.session", "3"], done.stderr
    for given, why in (("", "is not set"), ("another", "was refused")):
        refused = subprocess.run(
            command,
            env={**os.environ, **server, TOKEN: given},
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
        assert f"HostError: the Spark Connect server asks for a token, and {TOKEN} {why}: set it" in refused.stderr

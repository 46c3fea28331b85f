"""Real runs that are told to stop while Spark is at work: they end soon, as cancelled, and the next run goes on from there."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from dagster._cli.job import _create_run
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import PythonFileTarget
from deltalake import DeltaTable, write_deltalake
from hanging_location import POISON

pytestmark = [pytest.mark.jvm, pytest.mark.timeout(900)]

Execute = Callable[[str], "subprocess.Popen[bytes]"]
LOCATION = Path(__file__).with_name("hanging_location.py")
ROWS = 1_040
SOON_S = 60
"""Far less than the hour that the network hangs. Spark gives its Python workers two seconds."""


@pytest.fixture
def project(tmp_path: Path, dagster_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HANGING_PROJECT", str(tmp_path))
    return tmp_path


@pytest.fixture
def instance(project: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as made:
        yield made


def write_table(project: Path, *, hanging: bool) -> Path:
    """Eight files, each large enough for a shard of its own; the last one holds the value on which the network hangs."""
    for number in range(8):
        values = [float(row % 40) for row in range(ROWS)]
        if hanging and number == 7:
            values[20] = POISON
        write_deltalake(project / "data/lake/table", pa.table({"n": [number] * ROWS, "x": values}), mode="append")
    return project / "data/lake/predictions/slow"


def write_sources(project: Path, files: int) -> None:
    (project / "source").mkdir()
    for number in range(files):
        (project / "source" / f"{number}.csv").write_text("n,x\n" + "1,2.5\n" * 2000)


def wait_until(holds: Callable[[], object], seconds: float = 300) -> float:
    """Seconds until it held."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds
        time.sleep(0.1)
    return time.monotonic() - began


@pytest.fixture
def execute(project: Path) -> Iterator[Execute]:
    """A run in a process of its own, as a Kubernetes pod or a shell would have it."""
    runs: list[subprocess.Popen[bytes]] = []

    def execute(job: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "dagster", "job", "execute", "-f", str(LOCATION), "-j", job]
        runs.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return runs[-1]

    yield execute
    for run in runs:
        run.kill()  # of a test that failed; it would go on for an hour


def status(instance: dg.DagsterInstance) -> dg.DagsterRunStatus:
    (run, *_) = instance.get_runs(limit=1)
    return run.status


def parts(table: Path) -> set[str]:
    return {path.name for path in table.glob("part-*.parquet")}


def check_resumed(project: Path, table: Path, instance: dg.DagsterInstance, execute: Execute) -> None:
    """Once the poisoned file is gone, the next run takes up what was finished, and computes nothing of it again."""
    finished = {path: path.stat().st_ino for path in table.glob("part-*.parquet")}
    assert len(finished) >= 3
    assert not (table / "_delta_log").exists()
    DeltaTable(project / "data/lake/table").delete("n = 7")
    assert execute("predict").wait(300) == 0
    assert status(instance) == dg.DagsterRunStatus.SUCCESS
    assert DeltaTable(table).to_pyarrow_table().num_rows == 7 * ROWS
    assert {path: path.stat().st_ino for path in finished} == finished


def terminate_as_kubernetes_does(run: "subprocess.Popen[bytes]", instance: dg.DagsterInstance) -> None:
    """What the run launcher of dagster-k8s does: it notes that the run is meant to end, and deletes the pod."""
    instance.report_run_canceling(instance.get_runs(limit=1)[0])
    os.kill(run.pid, signal.SIGTERM)


def interrupt(run: "subprocess.Popen[bytes]", _instance: dg.DagsterInstance) -> None:
    """Ctrl-C."""
    os.kill(run.pid, signal.SIGINT)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        (terminate_as_kubernetes_does, dg.DagsterRunStatus.CANCELED),
        (interrupt, dg.DagsterRunStatus.FAILURE),  # to Dagster, whatever nobody asked it for is a failure
    ],
)
def test_a_run_that_is_signalled_while_it_scores(
    project: Path,
    instance: dg.DagsterInstance,
    execute: Execute,
    stop: Callable[["subprocess.Popen[bytes]", dg.DagsterInstance], None],
    expected: dg.DagsterRunStatus,
):
    table = write_table(project, hanging=True)
    run = execute("predict")
    wait_until(lambda: len(parts(table)) >= 3)
    stop(run, instance)
    assert wait_until(lambda: run.poll() is not None) < SOON_S
    assert status(instance) == expected
    check_resumed(project, table, instance, execute)


@pytest.mark.slow
def test_a_run_that_is_signalled_while_it_reads(project: Path, instance: dg.DagsterInstance, execute: Execute):
    write_sources(project, 400)
    run, table = execute("read"), project / "data/lake/table"
    wait_until(lambda: any(table.rglob("*.parquet")))
    terminate_as_kubernetes_does(run, instance)
    assert wait_until(lambda: run.poll() is not None) < SOON_S
    assert status(instance) == dg.DagsterRunStatus.CANCELED
    assert not (table / "_delta_log").exists()
    assert execute("read").wait(300) == 0
    assert DeltaTable(table).to_pyarrow_table().num_rows == 400 * 2000


@pytest.mark.slow
def test_a_run_that_the_run_launcher_terminates(project: Path, instance: dg.DagsterInstance, execute: Execute):
    """What the button in Dagster's UI does: by way of the code server, in whose process the run is a child."""
    table = write_table(project, hanging=True)
    target = PythonFileTarget(
        python_file=str(LOCATION), attribute=None, working_directory=str(LOCATION.parent), location_name="hanging"
    )
    with WorkspaceProcessContext(instance, target) as workspace:
        request = workspace.create_request_context()
        location = request.code_locations[0]
        (repository,) = location.get_repositories().values()
        run = _create_run(instance, location, repository, repository.get_full_job("predict"), {}, None, None, None)
        instance.launch_run(run.run_id, request)
        wait_until(lambda: len(parts(table)) >= 3)
        assert instance.run_launcher.terminate(run.run_id)
        assert wait_until(lambda: status(instance).value in ("CANCELED", "FAILURE", "SUCCESS")) < SOON_S
        assert status(instance) == dg.DagsterRunStatus.CANCELED
    check_resumed(project, table, instance, execute)

"""Several code locations on one lake, and several processes of one run."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from deltalake import DeltaTable

pytestmark = [pytest.mark.jvm, pytest.mark.timeout(900)]

EXPECTED = [(0, -1.0, "no"), (0, 1.0, "yes"), (0, 2.0, "yes")]
LOCATION = Path(__file__).with_name("shared_lake_location.py")


@pytest.fixture
def project(tmp_path: Path, dagster_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHARED_PROJECT", str(tmp_path))
    with dg.DagsterInstance.get() as instance:  # two processes that make its databases at once trip over each other
        assert not instance.get_runs()
        assert not instance.all_asset_keys()
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "0.csv").write_text("0,1.0\n0,2.0\n0,-1.0\nbad\n")
    return tmp_path


def execute(tasks: str, job: str = "all_in_one") -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "dagster", "job", "execute", "-f", str(LOCATION), "-j", job]
    environment = {**os.environ, "SHARED_TASKS": tasks}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(*runs: "subprocess.Popen[str]") -> None:
    try:
        for run in runs:
            output, _ = run.communicate(timeout=400)
            assert run.returncode == 0, output[-3000:]
    finally:
        for run in runs:
            run.kill()


def rows(project: Path, table: str) -> list[tuple[int, float, str]]:
    found = DeltaTable(project / "data/lake" / table).to_pyarrow_table().to_pylist()
    return sorted((row["n"], row["x"], row["predicted_class"]) for row in found)


@pytest.mark.slow
@pytest.mark.parametrize("others", ["two", "one"], ids=["other tasks", "the same task"])
def test_two_locations_share_a_lake(project: Path, others: str):
    """Both refresh the same input at the same time, and tasks of their own or the very same one."""
    finish(execute("one"), execute(others))
    for task in {"one", others}:
        assert rows(project, f"predictions/{task}") == EXPECTED
    assert DeltaTable(project / "data/lake/numbers__rejected").to_pyarrow_table().num_rows == 1


@pytest.mark.slow
def test_a_runs_assets_may_have_a_process_each(project: Path):
    """Dagster's multiprocess executor: each process has a Spark session of its own."""
    finish(execute("one,two", "a_process_each"))
    assert rows(project, "predictions/one") == rows(project, "predictions/two") == EXPECTED
    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
        assert {step.status.value for step in instance.get_run_step_stats(run.run_id)} == {"SUCCESS"}

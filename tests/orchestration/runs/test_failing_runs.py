"""A failed run ends with the message of what failed, and says little else."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from orchestration_fakes import FakeScoreTable, a_task
from py4j.protocol import Py4JError

from sparktorch_assets.errors import ModelError, TableError
from sparktorch_assets.orchestration.assets.factory import build_prediction_assets
from sparktorch_assets.orchestration.assets.run import failure
from sparktorch_assets.orchestration.commands import run
from sparktorch_assets.spark.worker_errors import WorkerTracebackError

ROOT = Path(__file__).parents[3]
MISSING = "there is no file"


@pytest.mark.slow
@pytest.mark.promise("O40", "O41", "O115")
@pytest.mark.usefixtures("dagster_home")
def test_dg_launch_ends_with_the_message(tmp_path: Path):
    here = Path(__file__).parent
    launched = subprocess.run(
        [Path(sys.executable).with_name("dg"), "launch", "-m", "failing_location", "--assets", "models/sample"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(here), str(here.parent), str(ROOT)))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert launched.returncode == 1
    lines = launched.stderr.rstrip().splitlines()
    assert lines[-2].startswith(f"FAILED models/sample: ModelError: {MISSING}")
    assert lines[-1] == """To try again: dg launch --assets 'key:"models/sample"'"""
    assert not [line for line in lines if line.startswith("  File") and "/sparktorch_assets/" in line]


@pytest.mark.promise("O40")
def test_the_run_command_ends_with_the_message(project: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any):
    monkeypatch.chdir(project)
    (project / "data/models/sample/model.safetensors").unlink()
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    assert run.main(["failing_location"]) == 1
    lines = capfd.readouterr().out.rstrip().splitlines()
    assert lines[-1].startswith("FAILED models__sample: ")
    assert MISSING in lines[-1]


def test_a_refused_runs_check_does_not_repeat_the_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any):
    @dg.multi_asset(specs=[dg.AssetSpec("table")], check_specs=[dg.AssetCheckSpec("limit", asset="table")])
    def table() -> Any:
        yield dg.AssetCheckResult(check_name="limit", passed=False, description="too many")
        raise TableError("too many") from ValueError("the cause has its own words")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "load_definitions", lambda module: dg.Definitions(assets=[table]))
    assert run.main(["any"]) == 1
    shown = capsys.readouterr().out
    assert shown.count("too many") == 1
    assert shown.rstrip().endswith("TableError: too many")


def failing(resources: dict[str, Any], error: Exception) -> BaseException:
    with pytest.raises(type(error)) as caught:
        dg.materialize(build_prediction_assets([a_task()]), selection="predictions/sample", resources=resources)
    return caught.value


def raise_chained(error: Exception, *causes: Exception) -> Exception:
    for effect, cause in zip((error, *causes), causes, strict=False):
        effect.__cause__ = cause
    return error


@pytest.mark.promise("O41")
def test_the_error_keeps_its_class_and_loses_sparks_exception(resources: dict[str, Any], score: FakeScoreTable):
    worker = WorkerTracebackError("line 7 of the user's hook")
    score.error = raise_chained(TableError("what, where, way out"), worker, Py4JError("sixty lines of Java"))
    caught = failing(resources, score.error)
    assert caught.__cause__ is worker
    assert worker.__cause__ is None
    assert worker.__suppress_context__
    frames = []
    trace = caught.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame.f_code.co_filename)
        trace = trace.tb_next
    assert not [frame for frame in frames if frame.endswith("orchestration_fakes.py")]


def test_other_errors_keep_their_frames(resources: dict[str, Any], score: FakeScoreTable):
    """They are the user's, or a fault of this library's."""
    score.error = KeyError("fault")  # type: ignore[assignment]
    trace = failing(resources, score.error).__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    assert trace is not None
    assert trace.tb_frame.f_code.co_filename.endswith("orchestration_fakes.py")


def test_a_notebook_or_a_test_prints_nothing_when_it_ends(
    monkeypatch: pytest.MonkeyPatch, resources: dict[str, Any], score: FakeScoreTable
):
    registered: list[Any] = []
    monkeypatch.setattr(failure.atexit, "register", lambda *given, **_: registered.append(given))
    score.error = ModelError("no model")
    failing(resources, score.error)
    assert print not in [given[0] for given in registered]  # libraries below register, too

"""The files of deploy/ agree with each other, with Dagster's schemas and with docs/deployment.md. Starts nothing."""

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from dagster._core.workspace.config_schema import ensure_workspace_config
from installed import DEPLOY, ROOT, UNITS, commands, environment, settings
from programs import program

PAGE = (ROOT / "docs" / "deployment.md").read_text()
SERVICES = {"dagster-code-server", "dagster-daemon", "dagster-webserver", "dagster-viewer"}
CODE = "".join(path.read_text() for path in sorted(DEPLOY.rglob("*")) if path.is_file())


def test_dagster_accepts_both_files(monkeypatch: pytest.MonkeyPatch):
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    found, _ = dagster_instance_config(str(DEPLOY))
    assert found["storage"].keys() == {"postgres"}
    workspace = ensure_workspace_config(yaml.safe_load((DEPLOY / "workspace.yaml").read_text()), "workspace.yaml")
    ((server,),) = [entry.values() for entry in workspace["load_from"]]
    assert server == {"host": "127.0.0.1", "port": 4000, "location_name": "my_project"}


@pytest.mark.promise("O174")
def test_every_variable_is_declared_once_with_its_use():
    used = set(re.findall(r"\$\{(\w+)\}|\{env: (\w+)\}", CODE))
    names = {name for pair in used for name in pair if name}
    assert names <= environment().keys()
    read_by_programs = {"DAGSTER_HOME", "SPARKTORCH_MODEL_CACHE"}
    assert environment().keys() == names | read_by_programs
    secrets = [name for name in environment() if "PASSWORD" in name]
    assert secrets == ["DAGSTER_PG_PASSWORD"]


@pytest.mark.promise("O171")
def test_every_service_is_on_loopback_as_a_user_without_rights():
    assert UNITS.keys() == SERVICES
    for unit in UNITS:
        found = settings(unit)
        assert found["User"] == ["dagster"]
        assert found["CapabilityBoundingSet"] == [""]
        assert found["NoNewPrivileges"] == ["yes"]
        assert found["ProtectSystem"] == ["strict"]
        assert found["Restart"] == ["always"]
        service = found["ExecStart"][0]
        assert ("--host 127.0.0.1" in service) == (unit != "dagster-daemon")
    listening = re.findall(r"proxy_pass (\S+);", (DEPLOY / "nginx.conf").read_text())
    web, viewer = environment()["WEBSERVER_PORT"], environment()["VIEWER_PORT"]
    assert listening == [f"http://127.0.0.1:{web}"] * 2 + [f"http://127.0.0.1:{viewer}"] * 2
    assert "--read-only" in settings("dagster-viewer")["ExecStart"][0]
    assert "--read-only" not in settings("dagster-webserver")["ExecStart"][0]


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.promise("O171")
def test_systemd_finds_nothing_wrong(tmp_path: Path):
    """With the programs of this environment, since systemd looks whether they exist."""
    analyze = program("systemd-analyze", package="systemd")
    for name, path in UNITS.items():
        first, service = commands(name, environment())
        text = path.read_text().replace("/srv/dagster/venv/bin", str(Path(sys.executable).parent))
        assert all(Path(command[0]).is_file() for command in [*first, service])
        (tmp_path / path.name).write_text(text)
    units = [tmp_path / path.name for path in UNITS.values()]
    done = subprocess.run([analyze, "verify", "--man=no", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    for unit in units:
        command = [analyze, "security", "--offline=true", "--threshold=25", unit]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{unit.name} may do more than it needs: {done.stdout[-200:]}"


def _a_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, launched_by: str | None) -> str:
    tags = {} if launched_by is None else {".dagster/grpc_info": launched_by}
    run = dg.DagsterRun(job_name="any", status=status, tags=tags)
    return instance.add_run(run).run_id


@pytest.mark.promise("O124")
def test_only_runs_of_that_code_server_are_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    shutil.copy(DEPLOY / "dagster.yaml", tmp_path)
    settings = yaml.safe_load((tmp_path / "dagster.yaml").read_text())
    (tmp_path / "dagster.yaml").write_text(
        yaml.safe_dump({**settings, "storage": {"sqlite": {"base_dir": str(tmp_path)}}})
    )
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    here, elsewhere = '{"host": "127.0.0.1", "port": 4000}', '{"host": "127.0.0.1", "port": 4001}'
    status = dg.DagsterRunStatus
    with dg.DagsterInstance.get() as instance:
        lost = [_a_run(instance, one, here) for one in (status.STARTING, status.STARTED, status.CANCELING)]
        kept = [_a_run(instance, one, here) for one in (status.NOT_STARTED, status.SUCCESS, status.CANCELED)]
        kept += [_a_run(instance, status.STARTED, other) for other in (elsewhere, '{"socket": "/x"}', None)]
        before = {run: instance.get_run_by_id(run).status for run in kept}
        runpy.run_path(str(DEPLOY / "fail_lost_runs.py"))["main"](["--port", "4000"])
        assert {instance.get_run_by_id(run).status for run in lost} == {status.FAILURE}
        assert {run: instance.get_run_by_id(run).status for run in kept} == before
    assert sorted(capsys.readouterr().out.split()[1::4]) == sorted(lost)


def test_the_page_says_what_the_files_say():
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    assert set(re.findall(r"(?<![\w-])(dagster-\w+==\S+)", PAGE)) <= set(lock)
    for name in re.findall(r"`deploy/([\w./-]+)`", PAGE):
        assert (DEPLOY / name).exists(), name
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            assert path.stem in PAGE, path

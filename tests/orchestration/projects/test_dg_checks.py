"""What `dg check defs` finds in a project and `dg check yaml` does not, as docs/deployment.md says."""

import os
import subprocess
from pathlib import Path

import pytest
from sample_graph import dg_command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SETTINGS = """
directory_type = "project"
[project]
root_module = "shop"
code_location_name = "shop"
"""
DEFINITIONS = """
from pathlib import Path

import dagster as dg

from sparktorch_assets import check_definitions, runtime_definitions

HERE = Path(__file__).parent


@dg.definitions
def defs() -> dg.Definitions:
    declared = dg.load_from_defs_folder(path_within_project=HERE)
    return check_definitions(dg.Definitions.merge(declared, runtime_definitions(HERE.parent)))
"""
EVENTS = """
type: sparktorch_assets.InputTableComponent
attributes:
  source: [data/*.csv]
  format: csv
  columns: {n: long, x: double}
"""
TASK = """
type: sparktorch_assets.MlTaskComponent
attributes:
  input: events
  model: {weights: m.safetensors, architecture: "sparktorch_assets.testing:Echo"}
  features: [{kind: numeric, columns: [x]}]
  labels: ["0", "1"]
"""
TASKS = ("early", "late", "seldom")
TYPO, OTHER_COLUMN = ("features:", "featurs:"), ("[x]", "[z]")


def declare(project: Path, task: str, *change: str) -> Path:
    path = project / "shop/defs" / task / "defs.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = TASK.lstrip()
    path.write_text(text.replace(*change) if change else text)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Three tasks over one table, each with a typo."""
    for name, text in {
        "dg.toml": SETTINGS,
        "shop/__init__.py": "",
        "shop/definitions.py": DEFINITIONS,
        "shop/defs/__init__.py": "",
        "shop/defs/events/defs.yaml": EVENTS,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for task in TASKS:
        declare(tmp_path, task, *TYPO)
    return tmp_path


def check(project: Path, what: str) -> tuple[bool, str]:
    path = os.pathsep.join(part for part in (str(project), os.environ.get("PYTHONPATH")) if part)
    done = subprocess.run(
        [*dg_command(), "check", what],
        cwd=project,
        env={**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode == 0, done.stdout + done.stderr


@pytest.mark.promise("O126")
def test_only_dg_check_defs_looks_at_every_file_and_at_the_columns(project: Path):
    passed, text = check(project, "yaml")
    assert not passed
    (looked_at,) = [task for task in TASKS if f"{task}/defs.yaml" in text]
    declare(project, looked_at)
    assert check(project, "yaml")[0], "two files still have a typo"
    passed, text = check(project, "defs")
    assert not passed
    others = [task for task in TASKS if task != looked_at]
    assert any(f"{project}/shop/defs/{task}/defs.yaml:5" in text for task in others)
    for task in others:
        declare(project, task, *OTHER_COLUMN)
    passed, text = check(project, "defs")
    assert not passed
    assert "needs column 'z'" in text

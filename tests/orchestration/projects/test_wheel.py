"""The wheel, installed without this repository, serves somebody else's dg project."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOOLS = Path(sys.executable).parent
PYPROJECT = """\
[project]
name = "elsewhere"
version = "0"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "elsewhere"
"""
DEFINITIONS = """\
from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
"""

Run = Callable[..., str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but what the wheel installs."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = folder.glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", folder / "site", wheel]
    subprocess.run(install, check=True, capture_output=True, timeout=120)
    return folder / "site"


@pytest.fixture
def run(site: Path, tmp_path: Path) -> Run:
    """Runs a command inside a new, empty dg project that finds our package in the wheel's folder alone."""
    package = tmp_path / "elsewhere"
    (package / "defs").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (package / "__init__.py").touch()
    (package / "defs" / "__init__.py").touch()
    (package / "definitions.py").write_text(DEFINITIONS)
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{tmp_path}", "PYTHONWARNINGS": "ignore"}

    def run(*command: str, ok: bool = True) -> str:
        done = subprocess.run(
            [str(TOOLS / command[0]), *command[1:]],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return done.stdout if ok else done.stdout + done.stderr

    return run


def test_the_wheel_holds_the_library_and_not_the_sample_project(site: Path, run: Run):
    assert run("python", "-c", "import sparktorch_assets; print(sparktorch_assets.__file__)").startswith(str(site))
    package = site / "sparktorch_assets"
    assert (package / "py.typed").is_file()
    assert (package / "__init__.pyi").is_file()
    assert (package / "spark" / "session" / "log4j2-quiet.properties").is_file()
    ours = ("defs", "samples", "definitions.py", "orchestration/commands")
    assert not any((package / name).exists() for name in ours)
    (metadata,) = site.glob("sparktorch_assets-*.dist-info")
    assert {path.name for path in (metadata / "licenses").iterdir()} == {"LICENSE", "NOTICE"}


@pytest.mark.slow
def test_another_project_scaffolds_checks_and_lists_our_components(run: Run, tmp_path: Path):
    components = {item["key"] for item in json.loads(run("dg", "list", "components", "--json"))["items"]}
    assert {"sparktorch_assets.MlTaskComponent", "sparktorch_assets.InputTableComponent"} <= components
    run("dg", "scaffold", "defs", "sparktorch_assets.MlTaskComponent", "topic")
    run("dg", "scaffold", "defs", "sparktorch_assets.InputTableComponent", "events")
    assert "YAML validated successfully" in run("dg", "check", "defs")
    listed = json.loads(run("dg", "list", "defs", "--json"))
    assert {asset["asset_key"] for asset in listed["assets"]} == {"events", "models/topic", "predictions/topic"}
    assert {schedule["name"] for schedule in listed["schedules"]} == {"daily_predictions"}


@pytest.mark.slow
def test_a_misspelt_key_is_named_with_its_line_and_with_the_known_keys(run: Run, tmp_path: Path):
    """`dg check defs` stops at the JSON schema, so that its message is all that the user reads."""
    run("dg", "scaffold", "defs", "sparktorch_assets.MlTaskComponent", "topic")
    path = tmp_path / "elsewhere" / "defs" / "topic" / "defs.yaml"
    path.write_text(path.read_text().replace("      columns:", "      colums:"))
    line = 1 + [text.strip()[:7] for text in path.read_text().splitlines()].index("colums:")
    for checked in ("yaml", "defs"):
        told = run("dg", "check", checked, ok=False)
        assert f"topic/defs.yaml:{line} - " in told
        assert "attributes.features.0.colums" in told
        assert "'colums' is not one of ['columns', 'fill', 'argument', 'kind']" in told
        assert "given schemas" not in told


@pytest.mark.slow
def test_a_mistake_in_another_project_is_told_with_its_line(run: Run, tmp_path: Path):
    run("dg", "scaffold", "defs", "sparktorch_assets.MlTaskComponent", "topic")
    path = tmp_path / "elsewhere" / "defs" / "topic" / "defs.yaml"
    path.write_text(path.read_text().replace('labels: ["no", "yes"]', 'labels: ["no", "no"]'))
    line = 1 + [text.strip()[:7] for text in path.read_text().splitlines()].index("labels:")
    told = run("dg", "list", "defs", ok=False)
    assert f"topic/defs.yaml:{line}: MlTask 'topic': labels names 'no' more than once" in told


@pytest.mark.slow
@pytest.mark.promise("M222")
def test_the_command_takes_options_and_tells_what_is_wrong_without_a_traceback(run: Run, tmp_path: Path):
    for name in ("rows.csv", "more.csv"):
        (tmp_path / name).write_text("id,review\n1,good\n")
    (tmp_path / "notes").mkdir()
    table, task = "sparktorch_assets.InputTableComponent", "sparktorch_assets.MlTaskComponent"
    run("dg", "scaffold", "defs", table, "reviews", "--source", "rows.csv", "--source", "more.csv")
    told = run("dg", "scaffold", "defs", task, "topic", "--model", "notse", "--input", "reviews", ok=False)
    assert "Error: there is no model 'notse'" in told
    assert "did you mean 'notes'?" in told
    assert "Traceback" not in told
    told = run("dg", "scaffold", "defs", task, "deep/topic", "--model", "notes", "--input", "reviews", ok=False)
    assert "holds neither config.json nor modules.json" in told
    assert {path.name for path in (tmp_path / "elsewhere" / "defs").iterdir() if path.is_dir()} == {"reviews"}
    assert "YAML validated successfully" in run("dg", "check", "defs")

"""The README's worked example, file by file and command by command, on a copy of this checkout."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable

pytestmark = [pytest.mark.jvm, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy without data: the example brings its own."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "sparktorch_assets", tmp_path / "sparktorch_assets", ignore=ignore)
    for name in ("dg.toml", "workspace.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.fixture
def run(checkout: Path) -> Callable[[list[str]], str]:
    tools = Path(sys.executable).parent
    environment = {**os.environ, "PYTHONPATH": str(checkout), "DAGSTER_HOME": str(checkout), "PYTHONWARNINGS": "ignore"}
    (checkout / "dagster.yaml").write_text("telemetry: {enabled: false}\n")

    def run(command: list[str]) -> str:
        done = subprocess.run(
            [str(tools / Path(command[0]).name), *command[1:]],
            cwd=checkout,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.mark.slow
def test_the_example_works_as_written(checkout: Path, run: Callable[[list[str]], str]):
    files = re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", README, flags=re.DOTALL)
    assert len(files) == 3
    for name, text in files:
        path = checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    run(["python", "train_ring.py"])
    commands = re.findall(r"^dg (?:check|launch).*$", README, flags=re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        run(shlex.split(command))
    rows = DeltaTable(checkout / "data/lake/predictions/ring").to_pyarrow_table().to_pylist()
    assert len(rows) == 2_000
    assert sum(row["predicted_class"] == row["truth"] for row in rows) > 1_900
    before = DeltaTable(checkout / "data/lake/predictions/ring").version()
    assert "nothing changed" in run(shlex.split(commands[-1]))
    assert DeltaTable(checkout / "data/lake/predictions/ring").version() == before

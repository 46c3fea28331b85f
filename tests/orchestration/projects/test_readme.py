"""The README's worked example, file by file and command by command, on a copy of this checkout."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from deltalake import DeltaTable
from page_blocks import blocks_run_by

from sparktorch_assets.orchestration.commands.dagster_home import use_dagster_home

pytestmark = [pytest.mark.jvm, pytest.mark.timeout(420)]

ROOT = Path(__file__).parents[3]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy without the sample's tables, since the example brings its own; its environment is the one that runs the
    tests."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "sparktorch_assets", tmp_path / "sparktorch_assets", ignore=ignore)
    for name in ("dg.toml", "workspace.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "data/models", tmp_path / "data/models")  # tasks of folders load with what these say
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/activate").write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n')
    return tmp_path


@pytest.fixture
def run(checkout: Path) -> Callable[[str], str]:
    """Runs commands in a new shell in the checkout, in which Dagster has no folder yet."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DAGSTER")}
    environment = {
        **kept,
        "PYTHONPATH": str(checkout),
        "PYTHONWARNINGS": "ignore",
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }

    def run(commands: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
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
def test_the_example_works_as_written(checkout: Path, run: Callable[[str], str], monkeypatch: pytest.MonkeyPatch):
    blocks = blocks_run_by(__file__)
    files = {block.file: block.text for block in blocks if block.file}
    assert len(files) == 3
    for name, text in files.items():
        path = checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    run("python train_sentiment.py")
    (launch,) = [block.text for block in blocks if not block.language]
    run(launch)
    rows = DeltaTable(checkout / "data/lake/predictions/sentiment").to_pyarrow_table().to_pylist()
    assert len(rows) == 2_000
    assert sum(row["predicted_class"] == row["truth"] for row in rows) > 1_900
    before = DeltaTable(checkout / "data/lake/predictions/sentiment").version()
    assert "nothing changed" in run(launch)
    cells = [block.text for block in blocks if block.language and not block.file]
    shown = run("python - <<'END'\n" + "".join(cells) + "END\n")
    assert len(cells) == shown.count("predicted_class") == 2
    assert shown.count("positive") == shown.count("negative") == 2
    assert DeltaTable(checkout / "data/lake/predictions/sentiment").version() == before
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    use_dagster_home(checkout)  # as `make dev` does
    with dg.DagsterInstance.get() as instance:
        for key in (["reviews"], ["models", "sentiment"], ["predictions", "sentiment"]):
            assert instance.get_latest_materialization_event(dg.AssetKey(key)) is not None

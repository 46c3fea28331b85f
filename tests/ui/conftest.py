"""`make dev` on a project of its own, and a browser in front of it.

If a test fails, what the browser showed and what the server printed is kept in artifacts/ui.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import shop
from playwright.sync_api import Browser, Page, expect, sync_playwright
from programs import program
from servers import Server, eventually, free_ports, graphql

ROOT = Path(__file__).parents[2]
ARTIFACTS = ROOT / "artifacts" / "ui"
SOON_MS = 60_000
"""For what only needs the web server."""
SETTINGS = "telemetry: {enabled: false}\nnux: {enabled: false}\npython_logs: {python_log_level: INFO}\n"


@dataclass
class Ui:
    """A running UI over a project."""

    address: str
    project: Path
    server: Server


def serve(project: Path, folder: Path) -> Iterator[Ui]:
    """`make dev` in that project, with a memory of its own, until the code location is there."""
    home = folder / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(SETTINGS)
    (port,) = free_ports(1)
    paths = [str(project), str(ROOT)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER", "PYTEST"))}
    env = kept | {"DAGSTER_HOME": str(home), "PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "sparktorch_assets.orchestration.commands.dev", "--port", str(port)]
    server = Server(command, log=folder / "server.log", env=env, cwd=project)
    address = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: graphql(address, "{ assetNodes { id } }")["assetNodes"], seconds=180, servers=[server])
        yield Ui(address, project, server)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    program("chromium", package="chromium")  # before a server is started in vain
    project = tmp_path_factory.mktemp("shop")
    shop.write(project)
    yield from serve(project, tmp_path_factory.mktemp("ui"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = program("chromium", package="chromium")
    with sync_playwright() as playwright:
        # No sandbox: inside a container and as root there is none. It shows nothing but this test's own server.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, ui: Ui, request: pytest.FixtureRequest) -> Iterator[Page]:
    expect.set_options(timeout=SOON_MS)
    page = browser.new_page(viewport={"width": 1400, "height": 1000}, base_url=ui.address, timezone_id="UTC")
    page.set_default_timeout(SOON_MS)
    yield page
    if request.node.stash.get(FAILED, False):
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=ARTIFACTS / f"{request.node.name}.png")
        shutil.copy(ui.server.log, ARTIFACTS / f"{request.node.name}.log")
    page.close()


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report

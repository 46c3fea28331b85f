"""A running UI over a small project, and a browser in front of it.

If a test fails, what the browser showed and what the server printed is kept in artifacts/ui.
"""

import shutil
from collections.abc import Iterator

import pytest
import shop
from chromium import chromium
from playwright.sync_api import Browser, Page, expect
from served import ROOT, Ui, serve

ARTIFACTS = ROOT / "artifacts" / "ui"
SOON_MS = 60_000
"""For what only needs the web server."""
FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="module")
def ui(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    project = tmp_path_factory.mktemp("shop")
    shop.write(project)
    with serve(project, tmp_path_factory.mktemp("ui")) as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report

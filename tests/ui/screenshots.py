"""Take the pictures in docs/images from the sample project's UI: `make screenshots`.

What the pictures show is materialized first, which costs little if the tables are up to date.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from chromium import chromium
from playwright.sync_api import Page, expect
from served import ROOT, environment, serve
from steps import metadata_value

IMAGES = ROOT / "docs" / "images"
SHOWN = '+key:"predictions/digit"'
WIDTH, HEIGHT = 1400, 1000


def asset_graph(page: Page) -> None:
    page.goto("/asset-groups")
    expect(page.get_by_text("reports", exact=True).locator("visible=true").first).to_be_visible()


def asset_page(page: Page) -> None:
    page.goto("/assets/predictions/digit")
    chart = metadata_value(page, "classes")
    expect(chart.locator("img")).to_be_visible()
    page.get_by_text("failed_rows", exact=True).first.scroll_into_view_if_needed()


def checks(page: Page) -> None:
    page.goto("/assets/predictions/digit?view=checks")
    page.get_by_text("no_row_lost").first.click()
    expect(page.get_by_text("Passed", exact=True)).to_be_visible()


PICTURES: dict[str, Callable[[Page], None]] = {"asset_graph": asset_graph, "asset_page": asset_page, "checks": checks}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        home = Path(folder) / "home"
        launch = [Path(sys.executable).with_name("dg"), "launch", "--assets", SHOWN]
        subprocess.run(launch, cwd=ROOT, env=environment(ROOT, home), check=True)
        with serve(ROOT, Path(folder)) as ui:
            expect.set_options(timeout=60_000)
            for name, show in PICTURES.items():
                page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, base_url=ui.address)
                show(page)
                expect(page.get_by_text(re.compile("fetching|Loading"))).to_have_count(0)
                page.screenshot(path=IMAGES / f"{name}.png")
                page.close()


if __name__ == "__main__":
    main()

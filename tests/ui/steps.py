"""What a person does in Dagster's UI, and where things are there."""

import re

from playwright.sync_api import Locator, Page, expect

RUN_MS = 240_000
"""For what waits until a run has started Spark."""


def choose_in_graph(page: Page, selection: str) -> None:
    """Open the graph of all assets, and leave only a selection in it."""
    page.goto("/asset-groups")
    page.locator(".CodeMirror").first.click()
    page.keyboard.type(selection)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("asset-groups~"))


def materialize(page: Page) -> None:
    """Click the page's main button."""
    page.get_by_role("button", name="Materialize").first.click()


def follow(page: Page, address: str) -> None:
    """Go to what was just launched, by the link that the UI shows for a few seconds."""
    page.get_by_role("link", name="View", exact=True).click()
    page.wait_for_url(re.compile(address))


def expect_status(page: Page, status: str, *, within_ms: int = RUN_MS) -> None:
    """Wait until the page of a run says so."""
    expect(page.get_by_text(status, exact=True).first).to_be_visible(timeout=within_ms)


def metadata_value(page: Page, key: str) -> Locator:
    """What the table of metadata on an asset's page says to a key."""
    row = page.get_by_role("row").filter(has=page.get_by_role("cell", name=key, exact=True))
    return row.get_by_role("cell").last

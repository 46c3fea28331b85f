"""What people do and see in Dagster's UI, in a real browser, from the graph to the page of an asset."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from steps import RUN_MS, choose_in_graph, expect_status, follow, materialize, metadata_value

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.jvm, pytest.mark.timeout(600)]

RUN, BACKFILL = r"/runs/[0-9a-f-]{36}", r"/runs/b/\w+"


def test_a_prediction_is_materialized_by_clicking_and_its_page_shows_what_came_of_it(page: Page):
    choose_in_graph(page, '+key:"predictions/sign"')
    materialize(page)
    follow(page, RUN)
    expect(page.get_by_text("Executing (1)")).to_be_visible(timeout=RUN_MS)
    expect_status(page, "Success")
    page.goto("/assets/predictions/sign")
    expect(page.get_by_text("Row count")).to_be_visible()
    expect(page.get_by_text("100", exact=True).first).to_be_visible()
    chart = metadata_value(page, "classes").locator("img")
    expect(chart).to_be_visible()
    assert chart.evaluate("image => image.complete && image.naturalWidth > 100"), "the browser can draw it"
    expect(metadata_value(page, "failed_rows")).to_have_text("0")
    expect(page.get_by_text("One of the task's labels; null where the row failed")).to_be_visible()
    for upstream in ("numbers", "models/sign"):
        expect(page.locator(f'a[href="/assets/{upstream}"]').first).to_be_visible()
    page.get_by_role("tab", name="Checks").click()
    expect(page.get_by_text("Succeeded", exact=True)).to_have_count(4)


def test_a_run_is_cancelled(page: Page):
    choose_in_graph(page, '+key:"predictions/slow"')
    materialize(page)
    follow(page, RUN)
    # Spark is at work: the asset has said how far it is.
    expect(page.get_by_text(re.compile(r"^\d+% of 100 rows")).first).to_be_visible(timeout=RUN_MS)
    page.get_by_role("button", name="Terminate").click()
    page.get_by_role("dialog").get_by_role("button", name="Terminate").click()
    expect_status(page, "Canceled", within_ms=60_000)


def test_a_failed_blocking_check_says_why_and_stops_what_depends_on_it(page: Page):
    choose_in_graph(page, 'key:"report" or +key:"predictions/strict"')
    materialize(page)
    follow(page, RUN)
    expect_status(page, "Failure")
    expect(page.get_by_text("Not executed (1)").or_(page.get_by_text("Skipped (1)")).first).to_be_visible()
    page.goto("/assets/predictions/strict?view=checks")
    page.get_by_text("failed_share").first.click()
    expect(page.get_by_text("Failed", exact=True).first).to_be_visible()
    expect(page.get_by_text("This is a blocking asset check")).to_be_visible()
    expect(page.get_by_text("poison").first).to_be_visible()
    page.goto("/assets/report")
    expect(page.get_by_text("Failed in")).to_be_visible()
    expect(page.get_by_text("No metadata found")).to_be_visible()


def test_a_backfill_of_three_months_shows_each_month(page: Page):
    choose_in_graph(page, '+key:"predictions/season"')
    materialize(page)
    dialog = page.get_by_role("dialog")
    months = dialog.get_by_placeholder(re.compile("^ex:"))
    months.fill("[2025-01-01...2025-03-01]")
    months.press("Enter")
    expect(dialog.get_by_text("3 partitions").first).to_be_visible()
    dialog.get_by_role("button", name="Launch").click()
    follow(page, BACKFILL)
    expect(page.get_by_text("2025-01-01...2025-03-01")).to_be_visible()
    # First the table's months and the model, then the months of the predictions.
    expect(page.get_by_text("100% completed")).to_have_count(3, timeout=2 * RUN_MS)
    page.goto("/assets/predictions/season?view=partitions")
    expect(page.get_by_text("Materialized (3)")).to_be_visible()
    expect(page.get_by_text("Missing (3)")).to_be_visible()
    page.get_by_text("2025-02-01").first.click()
    expect(page.get_by_text("failed_rows")).to_be_visible()


@pytest.fixture
def misspelt(ui) -> Iterator[Path]:
    """A declaration with a typo, which is corrected afterwards."""
    path = ui.project / "shop/defs/sign/defs.yaml"
    text = path.read_text()
    path.write_text(text.replace("labels:", "lables:"))
    yield path
    path.write_text(text)


def test_a_typo_in_a_declaration_shows_its_file_and_line(page: Page, misspelt: Path):
    """Last, since the code location is not there any more after it."""
    page.goto("/deployment/locations")
    page.get_by_role("button", name="Reload").last.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("Code location error")).to_be_visible()
    lines = misspelt.read_text().splitlines()
    line = next(number for number, text in enumerate(lines, start=1) if "lables" in text)
    expect(
        dialog.get_by_text(re.compile(rf"attributes\.lables at .*/shop/defs/sign/defs\.yaml:{line}"))
    ).to_be_visible()

"""Debian's Chromium, driven by Playwright."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright
from programs import program


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser. It has no sandbox, since inside a container and as root there is none; it shows our own pages."""
    executable = program("chromium", package="chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()

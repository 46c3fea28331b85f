"""The documentation site: every page is on it once, it looks as the plain Markdown does, and needs no network."""

import os
import re
import runpy
import subprocess
import sys
from collections import Counter
from pathlib import Path

import markdown
import pytest
import yaml
from markdown_it import MarkdownIt
from page_blocks import blocks_of

import sparktorch_assets

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
ROOT_PAGES = runpy.run_path(str(DOCS / "root_pages.py"))
PAGES = {page.relative_to(DOCS).as_posix(): page for page in sorted(DOCS.rglob("*.md"))} | {
    on_site: ROOT / path for path, on_site in ROOT_PAGES["PAGES"].items()
}
"""Path on the site -> file."""


def pages_of(nav):
    """The pages that a part of `nav` names, in order."""
    if isinstance(nav, str):
        return [nav]
    return [page for part in (nav if isinstance(nav, list) else nav.values()) for page in pages_of(part)]


def test_every_page_is_in_the_navigation_once():
    assert sorted(pages_of(SITE["nav"])) == sorted(PAGES), "add the page to `nav` in mkdocs.yml, in one line"


def test_every_public_name_is_described_in_one_of_two_places():
    """Fields of declarations in reference.md, everything else in api.md."""
    described = re.findall(r"^::: sparktorch_assets\.(\w+)$", (DOCS / "api.md").read_text(), re.MULTILINE)
    components = {"MlTaskComponent", "InputTableComponent"}
    fields = re.findall(r"^<!-- fields: (\w+) -->$", (DOCS / "reference.md").read_text(), re.MULTILINE)
    assert components <= set(described)
    assert Counter([*described, *fields]) == Counter(sparktorch_assets.__all__)


@pytest.mark.parametrize(
    ("page", "link", "on_site"),
    [
        ("index.md", "docs/models.md#programs", "models.md#programs"),
        ("index.md", "docs/images/asset_graph.png", "images/asset_graph.png"),
        ("index.md", "SECURITY.md", "security.md"),
        ("operations.md", "../SECURITY.md", "security.md"),
        ("operations.md", "tables.md", "tables.md"),
        ("operations.md", "#production", "#production"),
        ("operations.md", "https://docs.dagster.io/a.md", "https://docs.dagster.io/a.md"),
        ("scale.md", "../benchmarks/LOG.md", "measurements.md"),
        ("measurements.md", "../docs/scale.md", "scale.md"),
        ("decisions/README.md", "0001-content-addressed-parts.md", "0001-content-addressed-parts.md"),
        ("decisions/README.md", "../../README.md", "../index.md"),
    ],
)
def test_links_of_the_repository_lead_to_pages_of_the_site(page, link, on_site):
    assert ROOT_PAGES["linked"](f"[it]({link})", page) == f"[it]({on_site})"


def test_a_link_reads_as_the_title_of_its_page():
    text = "See [docs/models.md](docs/models.md#programs) and ![a graph](docs/images/asset_graph.png)."
    assert ROOT_PAGES["linked"](text, "index.md") == (
        "See [Models](models.md#programs) and ![a graph](images/asset_graph.png)."
    )


def test_a_link_to_source_files_is_text_on_the_site():
    assert ROOT_PAGES["linked"]("See [`benchmarks/`](../benchmarks).", "scale.md") == "See `benchmarks/`."
    assert ROOT_PAGES["linked"]("See [nothing](../nothing).", "scale.md") == "See [nothing](nothing)."


@pytest.mark.parametrize("page", PAGES)
def test_the_site_has_the_lists_and_tables_that_the_plain_page_has(page):
    """Python-Markdown wants a blank line before a list, and four spaces before a nested one; other readers do not."""
    text = PAGES[page].read_text()
    plain = MarkdownIt("commonmark").enable("table").render(text)
    extensions = [name for part in SITE["markdown_extensions"] for name in ([part] if isinstance(part, str) else part)]
    shown = markdown.markdown(text, extensions=extensions)
    assert elements(shown) == elements(plain)


def elements(page):
    """How many there are of each element in which a misread line shows."""
    return Counter(re.findall(r"<(li|ul|ol|table|tr|td|h\d|pre|blockquote|img)\b", page))


@pytest.mark.slow
def test_the_site_builds_strictly_and_asks_no_other_server(tmp_path):
    """A link or anchor that leads nowhere, a page outside of the navigation and an undescribed name are errors. They are
    none with `--quiet`, which hides the warnings that `--strict` counts."""
    assert "$(BIN)/mkdocs build --strict\n" in (ROOT / "Makefile").read_text()
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    built = list((tmp_path / "site").rglob("*.html"))
    assert len(built) == len(PAGES) + 1  # and 404.html
    for page in built:
        fetched = re.findall(
            r"<(?:link|script|img|iframe)\b[^>]*(?:src|href)=\"?(?:https?:)?//[^ >]*", page.read_text()
        )
        assert not fetched, page.name
    titles = re.findall(r'<span class="filename">(.*?)</span>', (tmp_path / "site" / "index.html").read_text())
    assert titles == [block.file for block in blocks_of(ROOT / "README.md") if block.file]
    described = (tmp_path / "site" / "api.html").read_text()
    assert "Bring a prediction table, or one partition of it, up to date" in described

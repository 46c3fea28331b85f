"""Pages of the site that are not in docs/, links between them and those that are, and titles of files: a hook of MkDocs.

README.md and its neighbours stay in the repository's root, where readers of the repository look for them, and links are
written for these readers: `../SECURITY.md` in docs/operations.md, `docs/models.md` in README.md. On the site, they lead
to the page that the same file has there, and a link that reads as a file's name reads as the page's title. Of a link to
source files, only the text is left. A block of code that is a whole file (`<!-- file: name -->`) has its name above it.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/LOG.md": "measurements.md",
}
"""Path in the repository -> path on the site."""
_IN_REPOSITORY = {on_site: path for path, on_site in PAGES.items()}
_FILE = re.compile(r"^<!-- file: (\S+) -->\n(```\w+)\n", re.MULTILINE)
_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<path>[^)#\s:]+)(?P<anchor>(?:#[^)\s]*)?)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the repository's root."""
    for path, on_site in PAGES.items():
        files.append(File.generated(config, on_site, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001  (MkDocs names them)
    """Links and blocks of code as the site needs them."""
    return linked(_FILE.sub(r'\2 title="\1"\n', markdown), page.file.src_uri)


def linked(markdown: str, page: str) -> str:
    """The text of a page of the site with its links to files of the repository replaced by those to their pages.

    >>> linked("[programs](docs/models.md#programs)", "index.md")
    '[programs](models.md#programs)'
    >>> linked("[SECURITY.md](../SECURITY.md)", "operations.md")
    '[Security](security.md)'
    """
    folder = posixpath.dirname(_IN_REPOSITORY.get(page, f"docs/{page}"))

    def replaced(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, link["path"]))
        on_site = PAGES.get(path, path.removeprefix("docs/"))
        if on_site == path and (ROOT / path).exists():
            return link["text"]
        text = _title(ROOT / path) if link["text"].endswith(".md") else link["text"]
        return f"[{text}]({posixpath.relpath(on_site, posixpath.dirname(page) or '.')}{link['anchor']})"

    return _LINK.sub(replaced, markdown)


def _title(page: Path) -> str:
    return page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")

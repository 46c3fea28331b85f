"""What a reader of a page types: its files and its commands, in order."""

import re
from collections.abc import Iterator
from pathlib import Path

_BLOCK = re.compile(r"^(?:<!-- file: (\S+) -->\n)?```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)


def files_of(page: Path) -> dict[str, str]:
    """The files that the page shows in full: path -> text."""
    return {name: text for name, text in _blocks(page) if name}


def commands_of(page: Path) -> list[str]:
    """The blocks of commands, each as a piece of a shell script."""
    return [text for name, text in _blocks(page) if not name]


def script_of(page: Path) -> str:
    """Everything on the page as one shell script: files are written where they are shown, and commands are run."""
    lines = ["set -euo pipefail"]
    for name, text in _blocks(page):
        lines.append(f"mkdir -p $(dirname {name})\ncat > {name} <<'END_OF_FILE'\n{text}END_OF_FILE" if name else text)
    return "\n".join(lines)


def _blocks(page: Path) -> Iterator[tuple[str, str]]:
    return ((found[1] or "", found[2]) for found in _BLOCK.finditer(page.read_text(encoding="utf-8")))

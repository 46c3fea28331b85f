"""The README of a model's folder on the model's page, as it was written: plain text, in which nothing is a link.

A README comes with a model, from somebody else. Rendered as Markdown, it could make the browser of everybody who looks at
the page fetch an address.
"""

import re
from collections.abc import Callable
from pathlib import Path

import dagster as dg

from sparktorch_assets.orchestration.assets.text.plain_text import plain_lines
from sparktorch_assets.tasks import MlTask

README = "README.md"
_MOST_CHARACTERS = 4000


def readme_metadata(
    task: MlTask, models_root: Path, warn: Callable[[str], None]
) -> dict[str, dg.MarkdownMetadataValue]:
    """The metadata entry `card_readme`, if the weights are a folder with a README.

    Args:
        task: the task whose model is described.
        models_root: the folder that the weights' path is relative to.
        warn: called with a message if the file cannot be read. Predictions do not depend on it.
    """
    path = None if task.model.weights is None else models_root / task.model.weights / README
    if path is None or not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_MOST_CHARACTERS + 1)
    except OSError as error:
        warn(f"{path} is not shown: {error}")
        return {}
    cut = text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
    return {"card_readme": dg.MetadataValue.md(_verbatim(plain_lines(cut)))}


def _verbatim(text: str) -> str:
    """`text` as a block of code, whose fence is longer than any in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def readable_size(size_bytes: int) -> str:
    """A size for people.

    >>> readable_size(999), readable_size(1689969), readable_size(5 << 40)
    ('999 bytes', '1.6 MiB', '5.0 TiB')
    """
    size, unit = float(size_bytes), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"

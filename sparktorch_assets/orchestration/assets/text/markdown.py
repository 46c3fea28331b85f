"""Markdown tables of untrusted text: cells, column names, class names and reasons come from data and from models.

Dagster's UI renders Markdown. A cell must not become a link that a reader could follow, an image that the browser would
fetch, HTML, or a further column. Every character that has a meaning in Markdown is therefore written as an HTML entity,
which all dialects read alike, unlike a backslash before `|`. GitHub's dialect, which Dagster's UI uses, also turns bare
addresses into links, after it has resolved entities; an invisible character inside each address prevents that.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparktorch_assets.orchestration.assets.text.plain_text import one_line

_LONGEST_CELL = 120
_LARGEST_INLINE_IMAGE_BYTES = 4096
_PNG = b"\x89PNG\r\n\x1a\n"
_WORD_JOINER = "\u2060"
_ENTITIES = {ord(character): f"&#{ord(character)};" for character in "&<>|\\`*_[]~$"}
_ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=[wW]{3})(?=\.)|(?=@)")
"""The places in `http://x`, `www.x` and `a@b` where a renderer must not see an address."""


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table in which every cell and every header is shown as plain text.

    Args:
        header: the columns' names.
        rows: cells of any type. A small PNG is shown as an image, other bytes by their length.
    """
    lines = [
        [escape(name) for name in header],
        ["---"] * len(header),
        *([_cell(value) for value in row] for row in rows),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def preview_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table, with the first row's columns; empty if there are none."""
    names = list(rows[0]) if rows else []
    return markdown_table(names, [[row.get(name) for name in names] for row in rows]) if rows else ""


def escape(text: str) -> str:
    """`text` as one line of Markdown that renders as that text, cut to 120 characters."""
    line = one_line(text)
    cut = line if len(line) <= _LONGEST_CELL else f"{line[:_LONGEST_CELL]}…"
    return _ADDRESS.sub(_WORD_JOINER, cut).translate(_ENTITIES)


def inline_png(image: bytes) -> str:
    """A Markdown image that holds its own bytes, so that the UI fetches nothing."""
    return f"![](data:image/png;base64,{base64.b64encode(image).decode('ascii')})"


def _cell(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        image = bytes(value)
        if image.startswith(_PNG) and len(image) <= _LARGEST_INLINE_IMAGE_BYTES:
            return inline_png(image)
    return escape(_plain(value))


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"({len(bytes(value))} bytes)"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        head = ", ".join(_plain(item) for item in value[:5])
        return f"[{head}{', …' if len(value) > 5 else ''}]"
    if isinstance(value, Mapping):  # a struct, as in lists of spans and boxes
        return "{" + ", ".join(f"{name}: {_plain(item)}" for name, item in value.items()) + "}"
    return str(value)

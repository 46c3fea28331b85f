"""Tables in metadata: whatever the data holds, a renderer finds the cells that we wrote, and text in them alone."""

import html
import re
from typing import Any

import markdown
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from sparktorch_assets.orchestration.assets.page.metadata import seconds_table
from sparktorch_assets.orchestration.assets.text.markdown import escape, markdown_table, preview_table
from sparktorch_assets.orchestration.assets.text.plain_text import one_line

ATTACKS = [
    "![x](http://evil.example/a.png)",
    "[click](javascript:alert(1))",
    "[a]: http://evil.example",
    "a\\|b",
    "a|b|c",
    "\\",
    "`a|b`",
    "``",
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "<http://evil.example>",
    "http://evil.example/a?b=c",
    "HTTPS://evil.example",
    "www.evil.example",
    "WwW.evil.example",
    "someone@evil.example",
    "mailto:someone@evil.example",
    "a\nb",
    "a\r\n\r\n# b",
    "a\u2028b\x85c\x0bd",
    "**a** _b_ ~~c~~ __d__",
    "&lt;b&gt; &#124; &amp;",
    "$$x$$",
    "---",
    ":---:",
    "\x1b[2J\x1b]8;;http://evil.example\x07x\x1b]8;;\x07",
    "\u202egnp.exe",
    "# a",
    "- [x] a",
    "[^1]",
]
PIECES = [
    "|",
    "\\",
    "`",
    "*",
    "_",
    "[",
    "]",
    "(",
    ")",
    "!",
    "<",
    ">",
    "&",
    "#",
    ":",
    "//",
    "www.",
    "@",
    "\n",
    "\r",
    "http",
    "~",
]
TEXT = st.sampled_from(ATTACKS) | st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=8).map("".join)
# GitHub's dialect makes links of these where it finds them in the text, after entities are resolved.
BARE_ADDRESSES = (r"(?i)(https?://|www(?=\.))[-.\w]+", r"[-.\w+]+@[-\w]+(?:\.[-\w]+)+", r"(?i)(mailto|xmpp):[-.\w+]+@")
ALLOWED = {"table", "thead", "tbody", "tr", "th", "td", "p"}


def renderings(text: str) -> list[str]:
    return [
        MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text),
        markdown.markdown(text, extensions=["tables", "fenced_code", "footnotes", "attr_list"]),
    ]


def cells(rendered: str, tag: str) -> list[str]:
    return [html.unescape(cell) for cell in re.findall(rf"<{tag}(?: [^>]*)?>(.*?)</{tag}>", rendered, flags=re.DOTALL)]


def shown(value: str) -> str:
    """What a reader sees of a cell: long ones are cut, and invisible characters may stand inside."""
    line = one_line(value)
    return line if len(line) <= 120 else line[:120] + "…"


def check_inert(table: str, header: list[str], rows: list[list[str]]) -> None:
    for rendered in renderings(table):
        assert {tag.lower() for tag in re.findall(r"</?([A-Za-z][\w-]*)", rendered)} <= ALLOWED, rendered
        found = cells(rendered, "th") + cells(rendered, "td")
        expected = [shown(cell) for cell in (*header, *(cell for row in rows for cell in row))]
        assert [cell.replace("\u2060", "").strip() for cell in found] == [
            cell.replace("\u2060", "").strip() for cell in expected
        ]
        for address in BARE_ADDRESSES:
            assert not any(re.search(address, cell) for cell in found), rendered


@given(
    st.integers(2, 4).flatmap(
        lambda width: st.lists(st.lists(TEXT, min_size=width, max_size=width), min_size=2, max_size=4)
    )
)
@example([ATTACKS[index : index + 2] for index in range(0, len(ATTACKS) - 1, 2)])
def test_any_table_renders_as_its_cells_and_nothing_else(lines: list[list[str]]):
    """No link, image, HTML, emphasis or further cell, in two renderers with their own idea of tables."""
    header, *rows = lines
    check_inert(markdown_table(header, rows), header, rows)


@given(st.dictionaries(TEXT, st.integers(1, 9), min_size=1, max_size=5))
def test_names_of_phases_are_inert(counts: dict[str, int]):
    phases = [[name, "1.00", "run, wall clock"] for name in counts]
    check_inert(seconds_table(dict.fromkeys(counts, 1.0), {}), ["phase", "seconds", "of"], phases)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (1, "1"),
        (0.123456, "0.1235"),
        ([1.0, None, "a|b"], "[1, , a|b]"),
        (list(range(9)), "[0, 1, 2, 3, 4, …]"),
        (b"abc", "(3 bytes)"),
        ({"a": "<b>"}, "{a: <b>}"),
        (
            [{"label": "cat", "score": 0.123456, "crop": b"abc"}, None],
            "[{label: cat, score: 0.1235, crop: (3 bytes)}, ]",
        ),
        ("x" * 200, "x" * 120 + "…"),
    ],
)
def test_values_of_every_kind_are_shown(value: Any, text: str):
    table = preview_table([{"column": value, "other": 1}])
    (first, second) = cells(renderings(table)[0], "td")
    assert (first, second) == (text, "1")


def test_small_images_are_shown_without_being_fetched():
    table = preview_table([{"image": b"\x89PNG\r\n\x1a\n..", "other": 1}])
    assert re.search(r'<img src="data:image/png;base64,[\w+/=]+"', renderings(table)[0])


def test_no_rows_are_no_table():
    assert preview_table([]) == ""


@given(TEXT)
def test_a_line_for_the_terminal_holds_no_control_character(text: str):
    assert one_line(text).isprintable() or all(
        character.isprintable() or character > "\xa0" for character in one_line(text)
    )
    assert "\x1b" not in escape(text)

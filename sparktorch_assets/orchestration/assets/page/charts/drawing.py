"""An SVG image inside Markdown, which Dagster's page shows without fetching anything.

Dagster 1.13 shows an entry of Markdown in its place on the page only if it has fewer than 1,000 characters (the
function `MetadataEntry` of its web server); a longer one is a link that opens it. That is why shapes are lines with a
width, coordinates are whole numbers, and charts leave out what does not fit.

An image knows neither the page's theme nor its fonts. Its background is transparent, and its one colour of text has a
contrast of more than 4 to both backgrounds of Dagster's page, white and nearly black. A browser runs no script in an
image and loads nothing for it; names of classes are escaped all the same, so that they cannot draw anything.
"""

import html
import unicodedata
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from sparktorch_assets.orchestration.assets.text.markdown import escape
from sparktorch_assets.orchestration.assets.text.plain_text import one_line

INLINE_CHARACTERS = 999
"""The longest Markdown that the page shows in its place."""
WIDTH = 320
"""Width of every chart in pixels: that of the column of values next to long names on a page of 1,500 pixels."""
INK, ACCENT, WARNING = "#757c8a", "#5b7cfa", "#e0732f"
_NOT_IN_XML = dict.fromkeys((0xFFFE, 0xFFFF))
_NO_BREAK_SPACE = "\u00a0"
"""In a text, it looks like a space, which would take three characters in an address."""

Point = tuple[float, float]


class Drawing:
    """Collects shapes, in pixels from the upper left corner, and returns them as an image in Markdown."""

    def __init__(self, height: float, width: float = WIDTH) -> None:
        self._height, self._width = height, width
        self._shapes: list[str] = []

    def text(self, x: float, y: float, text: str, *, anchor: str = "start", colour: str = INK) -> None:
        """Write one line whose baseline is at `y`; `anchor` (`start`, `middle`, `end`) is the part of it that is at
        `x`."""
        place = f" y='{y:.0f}'" if not round(x) else f" x='{x:.0f}' y='{y:.0f}'"
        place += "" if anchor == "start" else f" text-anchor='{anchor}'"
        fill = "" if colour == INK else f" fill='{colour}'"
        self._shapes.append(f"<text{place}{fill}>{_plain(text).replace(' ', _NO_BREAK_SPACE)}</text>")

    def bars(self, lines: Iterable[tuple[Point, Point]], width: float) -> None:
        """Fill horizontal or vertical bars: lines from one point to another, `width` pixels wide."""
        path = "".join(_bar(begin, end) for begin, end in lines)
        if path:
            self._shapes.append(f"<path d='{path}' stroke='{ACCENT}' stroke-width='{width:.0f}'/>")

    def grid(self, x: float, y: float, cell: int, cells: Mapping[tuple[str, float], Iterable[tuple[int, int]]]) -> None:
        """Fill squares of a grid.

        Args:
            x: the grid's left edge.
            y: its upper edge.
            cell: the distance of two squares.
            cells: (colour, opacity) -> the squares, each as (line, column).
        """
        self._shapes.append(f"<g transform='translate({x:.0f},{y + cell / 2:.0f})scale({cell})' stroke-width='.9'>")
        for (colour, opacity), places in cells.items():
            path = "".join(f"M{column},{line}h.9" for line, column in places)
            fade = "" if opacity == 1 else f" opacity='{opacity:.2g}'"
            self._shapes.append(f"<path d='{path}' stroke='{colour}'{fade}/>")
        self._shapes.append("</g>")

    def line(self, points: Iterable[Point], *, colour: str = INK, dashed: bool = False) -> None:
        """Draw a line through the points."""
        path = "L".join(f"{x:.0f},{y:.0f}" for x, y in points)
        dashes = " stroke-dasharray='4'" if dashed else ""
        self._shapes.append(f"<path d='M{path}' fill='none' stroke='{colour}'{dashes}/>")

    def dots(self, points: Iterable[Point]) -> None:
        """Draw a dot at each point."""
        path = "".join(f"M{x:.0f},{y:.0f}h0" for x, y in points)
        self._shapes.append(f"<path d='{path}' stroke='{ACCENT}' stroke-width='7' stroke-linecap='round'/>")

    def markdown(self, alternative: str) -> str:
        """The image in Markdown.

        Args:
            alternative: what the image shows, in words, for readers who do not see it.
        """
        svg = (
            f"<svg xmlns='http://www.w3.org/2000/svg' width='{self._width:.0f}' height='{self._height:.0f}' fill='{INK}' "
            f"style='font:12px sans-serif'>{''.join(self._shapes)}</svg>"
        )
        return f"![{escape(alternative)}](data:image/svg+xml,{_address(svg)})"


def fitting(charts: Iterable[str]) -> str:
    """The first of these charts that the page shows in its place; the last one if there is none."""
    chart = ""
    for chart in charts:
        if len(chart) <= INLINE_CHARACTERS:
            return chart
    return chart


def cut(text: str, width: int) -> str:
    """`text` on one line, cut to about the width of `width` Latin characters.

    >>> cut("abcdef", 4), cut("中文字", 4)
    ('abc…', '中…')
    """
    line, room, kept = one_line(text), width, ""
    wide = [2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line]
    if sum(wide) <= width:
        return line
    for character, size in zip(line, wide, strict=True):
        if size > room - 1:
            break
        kept, room = kept + character, room - size
    return f"{kept}…"


def number(value: float) -> str:
    """A number for an axis.

    >>> number(0.5), number(12345.6), number(-0.00001)
    ('0.5', '12,300', '-1e-05')
    """
    return f"{float(f'{value:.3g}'):,.10g}"


def _bar(begin: Point, end: Point) -> str:
    (x, y), (to_x, to_y) = begin, end
    along = f"h{to_x - x:.0f}" if round(y) == round(to_y) else f"v{to_y - y:.0f}"
    return f"M{x:.0f},{y:.0f}{along}"


def _plain(text: str) -> str:
    """`text` on one line, with every character that has a meaning in XML replaced."""
    return html.escape(one_line(text).translate(_NOT_IN_XML))


def _address(svg: str) -> str:
    """`svg` as the end of a `data:` address in Markdown, which reads entities there: only what has a meaning in neither
    stays as it is. Other writings than Latin stay, too, since quoted they would be nine times as long."""
    return "".join(
        character
        if (ord(character) > 0x7F and (character.isalnum() or character in f"{_NO_BREAK_SPACE}…"))
        else quote(character.encode("utf-8", "replace"), safe="<>='/:,;")
        for character in svg
    )

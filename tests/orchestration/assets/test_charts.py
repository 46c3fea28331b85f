"""Charts: what they show, that the page shows them in their place, and that names in them draw nothing."""

import html
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from test_markdown import ATTACKS, TEXT

from sparktorch_assets.orchestration.assets.page.charts import CHARTS
from sparktorch_assets.orchestration.assets.page.charts.drawing import ACCENT, INK, INLINE_CHARACTERS, cut
from sparktorch_assets.tasks.outputs.report import (
    ReliabilityBin,
    ShownBars,
    ShownConfusion,
    ShownHistogram,
    ShownReliability,
)

SVG = "{http://www.w3.org/2000/svg}"


def draw(shown: Any) -> str:
    return CHARTS[type(shown)](shown)


def image(chart: str) -> ET.Element:
    """The chart as a browser gets it: Markdown becomes HTML, whose only content is an image with an address."""
    reader = MarkdownIt("commonmark", {"html": True})
    reader.validateLink = lambda _: True  # it lets no SVG through; Dagster's reader does
    rendered = reader.render(chart)
    found = re.fullmatch(r'<p><img src="data:image/svg\+xml,([^"]*)" alt="[^"]*" /></p>\n', rendered)
    assert found is not None, rendered
    return ET.fromstring(unquote(html.unescape(found[1])))


def texts(chart: str) -> list[str]:
    return [(shape.text or "").replace("\u00a0", " ") for shape in image(chart).iter(f"{SVG}text")]


def bars(counts: Sequence[tuple[str, int]], left_out: int = 0) -> ShownBars:
    return ShownBars(title="Rows per class", counts=counts, whole=sum(n for _, n in counts), left_out=left_out)


def confusion(classes: int, rows: int = 1000, wrong: int = 7) -> ShownConfusion:
    names = [f"class {place}" for place in range(classes)]
    return ShownConfusion(
        classes=names,
        rows=[[rows if a == b else wrong * ((a + b) % 3 == 0) for b in range(classes)] for a in range(classes)],
    )


HISTOGRAM = ShownHistogram(title="confidence", counts=[*range(0, 19_000, 1000), 123_456_789], low=0, high=1, mean=0.9)
RELIABILITY = ShownReliability(
    bins=[ReliabilityBin(place=n, rows=10**6, accuracy=n / 20, confidence=n / 20 + 0.025) for n in range(20)],
    bin_count=20,
    error=0.025,
)


@pytest.mark.promise("O90")
@pytest.mark.parametrize(
    "shown",
    [
        bars([(f"class {n}", 10**9 - n) for n in range(20)], left_out=80),
        bars([("x" * 200, 3), ("y" * 200, 2), ("z" * 200, 1)]),
        HISTOGRAM,
        ShownHistogram(
            title="a long name of a number", counts=[1.5] * 24, low=-123456.7, high=9.87e-5, open_below=True
        ),
        RELIABILITY,
        confusion(2, rows=10**6),
        confusion(10),
    ],
)
def test_the_page_shows_a_chart_in_its_place(shown):
    """Dagster's page hides an entry of 1,000 characters or more behind a link."""
    assert len(draw(shown)) <= INLINE_CHARACTERS == 999


@pytest.mark.promise("O90")
def test_a_chart_of_many_classes_is_small():
    assert len(draw(confusion(20, wrong=50)).encode()) < 10_000


@given(st.lists(TEXT, min_size=1, max_size=5))
@example(ATTACKS)
@example(
    ["</text></svg><script>", "a') onload='b", "x)](http://evil.example", "\ufffe\uffff\ud800", "%3Cscript%3E &lt;"]
)
@pytest.mark.promise("O91")
def test_names_of_classes_draw_nothing(names):
    """Through Markdown, HTML and XML: one image, with our shapes, and the names as text."""
    whole = draw(bars([(name, 1) for name in names]))
    square = draw(ShownConfusion(classes=names, rows=[[1] * len(names)] * len(names)))
    for chart in (whole, square):
        shapes = {shape.tag.removeprefix(SVG) for shape in image(chart).iter()}
        assert shapes <= {"svg", "g", "path", "text"}
        attributes = {name for shape in image(chart).iter() for name in shape.attrib}
        assert attributes <= {
            *("width", "height", "fill", "style", "x", "y", "text-anchor", "d", "stroke", "stroke-width", "opacity"),
            "transform",
        }
    written = [" ".join(text.split()) for text in texts(whole)]
    for name, line in zip(names, written, strict=False):
        if not line.startswith("…"):
            kept = cut(name, 30).translate({0xFFFE: None, 0xFFFF: None}).encode("utf-8", "replace").decode()
            assert line.startswith(" ".join(kept.split())), line


@pytest.mark.promise("O92")
def test_bars_show_as_many_classes_as_fit_and_count_the_others():
    lines = texts(draw(bars([(f"class {n}", 40 - n) for n in range(20)], left_out=78)))
    assert lines[0] == "class 0 · 40 · 6.6%"
    assert 5 <= len(lines) - 1 < 20
    assert lines[-1] == f"… and {98 - (len(lines) - 1)} more"


def test_bars_are_as_long_as_their_counts():
    (path,) = image(draw(bars([("a", 40), ("b", 10), ("c", 0)]))).iter(f"{SVG}path")
    assert re.findall(r"h(\d+)", path.attrib["d"]) == ["320", "80", "1"]


def test_columns_are_as_high_as_their_counts():
    drawn = image(draw(ShownHistogram(title="x", counts=[0, 1, 4, 2], low=0, high=8, mean=6.0)))
    columns, baseline_of_mean = list(drawn.iter(f"{SVG}path"))
    assert re.findall(r"v(-?\d+)", columns.attrib["d"]) == ["-25", "-100", "-50"]
    assert baseline_of_mean.attrib["d"].startswith("M240,")
    assert texts(draw(HISTOGRAM))[:3] == ["0", "0.5", "1"]
    assert "mean 0.9" in texts(draw(HISTOGRAM))


def test_nothing_predicted_is_no_chart():
    assert draw(bars([])) == "none"


def test_a_point_per_bin_with_rows():
    drawn = image(draw(RELIABILITY))
    dots = [shape.attrib["d"] for shape in drawn.iter(f"{SVG}path") if "stroke-linecap" in shape.attrib]
    assert [len(re.findall("h0", path)) for path in dots] == [20]
    assert "calibration error 0.025" in texts(draw(RELIABILITY))


def test_few_classes_show_their_numbers_and_many_their_largest_cells():
    few, many = draw(confusion(3, rows=12_345)), draw(confusion(11, wrong=9))
    assert texts(few).count("12k") == 3
    assert texts(few).count("7") == 2
    assert any("cells of at least" in text for text in texts(many)) or "9" not in texts(many)
    assert texts(many)[-1] == "class 10"


@pytest.mark.parametrize("background", ["#ffffff", "#030615"])
def test_text_can_be_read_on_both_themes(background):
    """The contrast of WCAG 2.1 to the backgrounds of Dagster's light and dark page."""
    assert contrast(INK, background) > 4
    assert contrast(ACCENT, background) > 3


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue

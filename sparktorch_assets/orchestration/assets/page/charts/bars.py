"""Bars: rows per class, the most frequent first."""

from sparktorch_assets.orchestration.assets.page.charts.drawing import WIDTH, Drawing, cut, fitting
from sparktorch_assets.tasks.outputs.report import ShownBars

_LINE_PX = 26
_BAR_PX = 6
_LABEL_CHARACTERS = 30
_FEWEST = 5
"""If the page can show fewer classes than these in their place, it shows all of them after a click."""


def bar_chart(shown: ShownBars) -> str:
    """For each count a line with its label, itself and its share, and a bar below; as many of them as the page shows in
    their place."""
    if not shown.counts:
        return "none"
    whole = range(len(shown.counts), min(_FEWEST, len(shown.counts)) - 1, -1)
    return fitting([*(_bars(shown, lines) for lines in whole), _bars(shown, len(shown.counts))])


def _bars(shown: ShownBars, lines: int) -> str:
    counts, left_out = shown.counts[:lines], shown.left_out + len(shown.counts) - lines
    drawing = Drawing(_LINE_PX * lines + (18 if left_out else 0))
    longest = max(count for _, count in shown.counts) or 1
    for place, (label, count) in enumerate(counts):
        drawing.text(0, _LINE_PX * place + 12, f"{cut(label, _LABEL_CHARACTERS)} · {_figures(count, shown.whole)}")
    ends = ((_LINE_PX * place + 19, max(1.0, WIDTH * count / longest)) for place, (_, count) in enumerate(counts))
    drawing.bars((((0, y), (length, y)) for y, length in ends), _BAR_PX)
    if left_out:
        drawing.text(0, _LINE_PX * lines + 12, f"… and {left_out:,} more")
    return drawing.markdown(f"{shown.title}: {shown.counts[0][0]} {_figures(shown.counts[0][1], shown.whole)} first")


def _figures(count: int, whole: int) -> str:
    return f"{count:,} · {count / whole:.1%}" if whole else f"{count:,}"

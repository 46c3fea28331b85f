"""A histogram: rows per bin of equal width."""

from sparktorch_assets.orchestration.assets.page.charts.drawing import WARNING, WIDTH, Drawing, number
from sparktorch_assets.tasks.outputs.report import ShownHistogram

_PLOT_PX, _TOP_PX = 100, 18
_BOTTOM_PX = _TOP_PX + _PLOT_PX


def histogram_chart(shown: ShownHistogram) -> str:
    """A column per bin, the range below them, and a dashed line at the mean."""
    drawing = Drawing(_BOTTOM_PX + 18)
    highest = max(shown.counts, default=0) or 1
    width = WIDTH / max(len(shown.counts), 1)
    columns = (
        (round(width * (place + 0.5)), _BOTTOM_PX - max(1.0, _PLOT_PX * count / highest))
        for place, count in enumerate(shown.counts)
        if count
    )
    drawing.bars((((x, _BOTTOM_PX), (x, top)) for x, top in columns), max(1, int(width) - 1))
    low = f"{'≤ ' if shown.open_below else ''}{number(shown.low)}"
    high = f"{'≥ ' if shown.open_above else ''}{number(shown.high)}"
    drawing.text(0, _BOTTOM_PX + 14, low)
    drawing.text(WIDTH / 2, _BOTTOM_PX + 14, number((shown.low + shown.high) / 2), anchor="middle")
    drawing.text(WIDTH, _BOTTOM_PX + 14, high, anchor="end")
    drawing.text(0, 12, f"highest column: {highest:,.0f} {shown.of}")
    mean = ""
    if shown.mean is not None and shown.low <= shown.mean <= shown.high:
        mean = f"mean {number(shown.mean)}"
        x = WIDTH * (shown.mean - shown.low) / (shown.high - shown.low)
        drawing.line([(x, _TOP_PX), (x, _BOTTOM_PX)], colour=WARNING, dashed=True)
        drawing.text(WIDTH, 12, mean, anchor="end", colour=WARNING)
    return drawing.markdown(f"Histogram of {shown.title} from {low} to {high}{', ' if mean else ''}{mean}")

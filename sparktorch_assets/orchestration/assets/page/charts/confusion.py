"""A confusion matrix: rows per true and predicted class."""

import math
from collections import defaultdict
from collections.abc import Sequence

from sparktorch_assets.orchestration.assets.page.charts.drawing import (
    ACCENT,
    INK,
    WARNING,
    WIDTH,
    Drawing,
    cut,
    fitting,
)
from sparktorch_assets.tasks.outputs.report import ShownConfusion

_LABELS_PX, _LABEL_CHARACTERS = 90, 13
_HEAD_PX = 34
_LARGEST_CELL_PX, _SMALLEST_CELL_PX = 36, 14
_SHADES = 4
_DARK_TEXT_FROM = 0.7
"""The opacity from which on a number is black, which is then readable on both themes."""
_LEAST_SHARES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1)


def confusion_chart(shown: ShownConfusion) -> str:
    """A line per true class and a column per predicted one, in the same order. Each cell is shaded by its share of the
    true class's rows: blue on the diagonal, orange where the model is wrong. Few cells also hold their numbers; of many,
    those with a small share are left out, so that the page shows the others in their place."""
    full = _matrix(shown, 0.0, numbers=len(shown.classes) <= 12)
    return fitting([full, *(_matrix(shown, least, numbers=False) for least in _LEAST_SHARES), full])


def _matrix(shown: ShownConfusion, least: float, *, numbers: bool) -> str:
    count = len(shown.classes)
    cell = max(_SMALLEST_CELL_PX, min(_LARGEST_CELL_PX, (WIDTH - _LABELS_PX) // max(count, 1)))
    drawing = Drawing(_HEAD_PX + cell * count, max(WIDTH, _LABELS_PX + cell * count))
    drawing.text(0, 12, "true class per line, predicted class per column")
    if least:
        drawing.text(0, 28, f"cells of at least {least:.1%} of a line")
    filled: dict[tuple[str, float], list[tuple[int, int]]] = defaultdict(list)
    texts: list[tuple[float, float, str, str]] = []
    for line, cells in enumerate(shown.rows):
        baseline = _HEAD_PX + cell * (line + 0.5) + 4
        texts.append((0, baseline, cut(shown.classes[line], _LABEL_CHARACTERS), INK))
        for column, rows in enumerate(cells):
            if rows and rows >= least * sum(cells):
                opacity = _opacity(rows, cells)
                filled[ACCENT if line == column else WARNING, opacity].append((line, column))
                if numbers:
                    colour = "#000" if opacity >= _DARK_TEXT_FROM else INK
                    texts.append((_LABELS_PX + cell * (column + 0.5), baseline, _brief(rows), colour))
    drawing.grid(_LABELS_PX, _HEAD_PX, cell, filled)
    for x, y, text, colour in texts:
        drawing.text(x, y, text, anchor="middle" if x else "start", colour=colour)
    return drawing.markdown(f"Confusion matrix of {count} classes")


def _opacity(rows: int, cells: Sequence[int]) -> float:
    """Errors are much rarer than right predictions, so that shades follow the root of the share."""
    return max(1, round(_SHADES * math.sqrt(rows / sum(cells)))) / _SHADES


def _brief(rows: int) -> str:
    """A count in about four characters.

    >>> _brief(999), _brief(1234), _brief(45678), _brief(2_000_000)
    ('999', '1.2k', '46k', '2M')
    """
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if rows >= size:
            return f"{rows / size:.2g}{letter}" if rows < 100 * size else f"{rows / size:.0f}{letter}"
    return str(rows)

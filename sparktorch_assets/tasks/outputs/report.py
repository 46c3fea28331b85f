"""What an output tells about a table: entries of the asset's page, and checks; without a second pass over the rows."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sparktorch_assets.number_summary import NumberSummary
from sparktorch_assets.tally import Tally


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckSpec:
    """A check that every table of an output has."""

    name: str
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckOutcome:
    """Whether a table passed the check of that name, and the counts that say so."""

    name: str
    passed: bool
    details: Mapping[str, int | float | str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownTable:
    """An entry of the page that is a table."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownBars:
    """An entry of the page that is a bar chart: a count per class, and its share of the whole."""

    title: str
    counts: Sequence[tuple[str, int]]
    """The classes that are shown, in order."""
    whole: int
    """What the shares are shares of."""
    left_out: int = 0
    """Number of classes that are not shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownHistogram:
    """An entry of the page that is a histogram: counts per bin of equal width over [low, high]."""

    title: str
    counts: Sequence[float]
    low: float
    high: float
    of: str = "rows"
    """What is counted."""
    mean: float | None = None
    open_below: bool = False
    """Whether the first bin also counts what lies below `low`."""
    open_above: bool = False
    """Whether the last bin also counts what lies above `high`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityBin:
    """The rows whose confidence lies in one bin."""

    place: int
    """The bin's number, from 0 on."""
    rows: int
    accuracy: float
    """Share of the rows whose class is right."""
    confidence: float
    """Mean confidence of the rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownReliability:
    """An entry of the page that is a reliability diagram."""

    bins: Sequence[ReliabilityBin]
    """The bins that hold rows, in order."""
    bin_count: int
    """Number of bins, with the empty ones."""
    error: float
    """The expected calibration error, in [0, 1]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownConfusion:
    """An entry of the page that is a confusion matrix."""

    classes: Sequence[str]
    rows: Sequence[Sequence[int]]
    """Per true class, the rows per predicted class, both in the order of `classes`."""


Shown = int | float | str | ShownTable | ShownBars | ShownHistogram | ShownReliability | ShownConfusion

_HISTOGRAMS, _BINS = 4, 24
_TAIL = 0.01
"""The share of the numbers at either end that the outermost bins of a histogram count together."""
_QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)


def number_table(numbers: Mapping[str, NumberSummary]) -> ShownTable:
    """One line per column of numbers: count, mean, standard deviation, extremes and quantiles."""
    heads = ("", "count", "mean", "std", "min", *(f"{share:.0%}" for share in _QUANTILES), "max")
    rows = []
    for name, found in numbers.items():
        figures = (
            found.mean,
            found.deviation,
            found.minimum,
            *(found.quantile(share) for share in _QUANTILES),
            found.maximum,
        )
        rows.append([name, f"{found.count:,}", *("" if figure is None else f"{figure:,.4g}" for figure in figures)])
    return ShownTable(columns=heads, rows=rows)


def rows_without_number(tally: Tally, names: Iterable[str]) -> int:
    """The predicted rows that miss one of these numbers, of which each row has one: null, NaN or infinite."""
    counts = (found.count if (found := tally.numbers.get(name)) else 0 for name in names)
    return max((tally.predicted - count for count in counts), default=0)


def means_of(numbers: Mapping[str, NumberSummary]) -> str:
    """The mean of each column of numbers, as JSON."""
    return json.dumps({name: found.mean for name, found in numbers.items()})


def number_histograms(numbers: Mapping[str, NumberSummary]) -> dict[str, Shown]:
    """A histogram of each of the first columns of numbers, unless its numbers are all the same."""
    shown: dict[str, Shown] = {}
    for name, found in list(numbers.items())[:_HISTOGRAMS]:
        low, high = found.quantile(_TAIL), found.quantile(1 - _TAIL)
        if found.minimum is None or found.maximum is None or found.minimum == found.maximum:
            continue
        if low is None or high is None or not low < high:
            low, high = found.minimum, found.maximum
        if not math.isfinite(high - low):
            continue
        counts = found.counts_between(low, high, _BINS)
        shown[f"{name.replace(' ', '_')}_histogram"] = ShownHistogram(
            title=name,
            counts=counts,
            low=low,
            high=high,
            of="numbers",
            mean=found.mean,
            open_below=found.minimum < low,
            open_above=found.maximum > high,
        )
    return shown

"""What an output tells about a table: entries of the asset's page, and checks; without a second pass over the rows."""

import json
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
class ShownHistogram:
    """An entry of the page that is a bar chart: rows per bin of equal width over [0, 1]."""

    counts: Sequence[int]


Shown = int | float | str | ShownTable | ShownHistogram

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

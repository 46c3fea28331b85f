"""Compares numbers: how far the predictions of both tasks lie apart, and from the true value where that is known."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sparktorch_assets.comparison.matched_rows import Matched
from sparktorch_assets.tasks.outputs.report import Shown, ShownTable


@dataclass(kw_only=True, slots=True)
class _Moments:
    """Counts, means and sums of squared differences from them for pairs of numbers, which can be added up (Chan, Golub and
    LeVeque, The American Statistician 37, 1983)."""

    count: int = 0
    mean_one: float = 0.0
    mean_other: float = 0.0
    spread_one: float = 0.0
    spread_other: float = 0.0
    shared: float = 0.0
    """Sum of the products of both differences."""
    absolute: float = 0.0
    """Sum of |other - one|."""
    squares: float = 0.0
    """Sum of (other - one) squared."""
    largest: float = 0.0

    @classmethod
    def of(cls, one: np.ndarray, other: np.ndarray) -> "_Moments":
        if not len(one):
            return cls()
        mean_one, mean_other = float(one.mean()), float(other.mean())
        apart, away_one, away_other = other - one, one - mean_one, other - mean_other
        return cls(
            count=len(one),
            mean_one=mean_one,
            mean_other=mean_other,
            spread_one=float(away_one @ away_one),
            spread_other=float(away_other @ away_other),
            shared=float(away_one @ away_other),
            absolute=float(np.abs(apart).sum()),
            squares=float(apart @ apart),
            largest=float(np.abs(apart).max()),
        )

    def add(self, more: "_Moments") -> None:
        count = self.count + more.count
        if not more.count:
            return
        between = self.count * more.count / count
        step_one, step_other = more.mean_one - self.mean_one, more.mean_other - self.mean_other
        self.spread_one += more.spread_one + step_one**2 * between
        self.spread_other += more.spread_other + step_other**2 * between
        self.shared += more.shared + step_one * step_other * between
        self.mean_one += step_one * more.count / count
        self.mean_other += step_other * more.count / count
        self.absolute += more.absolute
        self.squares += more.squares
        self.largest = max(self.largest, more.largest)
        self.count = count

    @property
    def figures(self) -> dict[str, float | None]:
        if not self.count:
            return dict.fromkeys(
                (
                    "mean_difference",
                    "mean_absolute_difference",
                    "root_mean_squared_difference",
                    "largest_difference",
                    "correlation",
                )
            )
        spread = math.sqrt(self.spread_one) * math.sqrt(self.spread_other)
        return {
            "mean_difference": self.mean_other - self.mean_one,
            "mean_absolute_difference": self.absolute / self.count,
            "root_mean_squared_difference": math.sqrt(self.squares / self.count),
            "largest_difference": self.largest,
            "correlation": self.shared / spread if spread else None,
        }


class NumberComparison:
    """Differences (challenger minus champion) of each column of numbers."""

    def __init__(self, columns: Sequence[str], truth: str | None) -> None:
        """`truth` is the side whose table has the true numbers, `champion` or `challenger`; `None` if none has."""
        self._truth = truth
        self._moments = {name: _Moments() for name in columns}
        self._errors = {"champion": _Moments(), "challenger": _Moments()}

    def add(self, rows: Matched) -> pa.ChunkedArray:
        """Count the rows, and return how far the predictions of each row lie apart, in the column in which they differ
        most; null for equal predictions and for rows of which one table has no finite number."""
        apart = np.zeros(rows.champion.num_rows)
        for name, moments in self._moments.items():
            one, other = (_numbers(side[name]) for side in (rows.champion, rows.challenger))
            usable = np.isfinite(one) & np.isfinite(other)
            moments.add(_Moments.of(one[usable], other[usable]))
            apart = np.maximum(apart, np.where(usable, np.abs(np.where(usable, other - one, 0.0)), 0.0))
            if self._truth is not None:
                truth = _numbers(getattr(rows, self._truth)["truth"])
                for side, found in (("champion", one), ("challenger", other)):
                    known = np.isfinite(truth) & np.isfinite(found)
                    self._errors[side].add(_Moments.of(truth[known], found[known]))
        return pa.chunked_array([pa.array(apart, mask=apart == 0)])

    @property
    def table(self) -> pa.Table:
        """One row per column of numbers."""
        rows = [{"column": name, "rows": found.count, **found.figures} for name, found in self._moments.items()]
        kinds = [("column", pa.string()), ("rows", pa.int64()), *((name, pa.float64()) for name in _Moments().figures)]
        return pa.Table.from_pylist(rows, schema=pa.schema(kinds))

    @property
    def figures(self) -> Mapping[str, Shown]:
        """The differences of the first column; and, if the truth is known, the errors of both."""
        found: dict[str, Shown] = {}
        for moments in list(self._moments.values())[:1]:
            found = {name: value for name, value in moments.figures.items() if value is not None}
        for side, errors in self._errors.items():
            if errors.count:
                found |= {
                    f"{side}_mean_absolute_error": errors.absolute / errors.count,
                    f"{side}_root_mean_squared_error": math.sqrt(errors.squares / errors.count),
                }
        return found

    @property
    def tables(self) -> Mapping[str, ShownTable]:
        """The differences of every column."""
        rows = [
            (name, f"{found.count:,}", *("" if value is None else f"{value:,.4g}" for value in found.figures.values()))
            for name, found in self._moments.items()
        ]
        heads = ("column", "rows", *(name.replace("_", " ") for name in _Moments().figures))
        return {"differences": ShownTable(columns=heads, rows=rows)}


def _numbers(values: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(
        pc.fill_null(pc.cast(values, pa.float64(), safe=False), float("nan")).to_numpy(), dtype=np.float64
    )

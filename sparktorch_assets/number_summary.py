"""Statistics of many numbers that can be added up: of a part, of a table of thousands of parts, and back.

Quantiles come from counts per bucket, whose bounds grow by a constant factor, so that any quantile has a relative error
of at most 1 % (DDSketch: Masson, Rim and Lee, VLDB 2019). Counts of buckets can be added, and, unlike the state of most
sketches, subtracted again when a part leaves a table.
"""

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

RELATIVE_ERROR = 0.01
"""The largest relative error of a quantile."""
_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
LOG_GAMMA = math.log(_GAMMA)
_LOG_LARGEST = math.log(sys.float_info.max) - 1e-9
SMALLEST = 1e-12
"""Numbers closer to zero than this are counted as zero in quantiles."""
_LARGEST = sys.float_info.max / 1e6
_EPSILON = sys.float_info.epsilon
_ROUNDING = 1e-9
"""The largest rounding error of a sum after a subtraction, relative to the sum of the sizes that are left."""


@dataclass(kw_only=True, slots=True)
class NumberSummary:
    """Count, sums, extremes and buckets of finite numbers."""

    count: int = 0
    total: float = 0.0
    """Sum of the numbers."""
    spread: float = 0.0
    """Sum of the squared differences from their mean. A sum of squares would lose the deviation of numbers that lie far
    from zero and close together, such as times."""
    minimum: float | None = None
    maximum: float | None = None
    minimum_count: int = 0
    """How many of the numbers are the smallest one, so that it is known whether one is left after a subtraction."""
    maximum_count: int = 0
    """The same for the largest one."""
    buckets: dict[str, int] = field(default_factory=dict)
    """Numbers per bucket: bucket `i` holds those in (gamma^(i-1), gamma^i], `-i` in front of a minus sign those of the
    opposite sign, and `0` those that count as zero. Keys are `p12`, `n-3` and `z`."""

    def add(self, other: "NumberSummary") -> None:
        """Add the other's numbers to these."""
        self.spread = bounded(self.spread + other.spread + _between(self, other))
        self.total = bounded(self.total + other.total)
        self.count += other.count
        self.minimum, self.minimum_count = _outermost(
            min, (self.minimum, self.minimum_count), (other.minimum, other.minimum_count)
        )
        self.maximum, self.maximum_count = _outermost(
            max, (self.maximum, self.maximum_count), (other.maximum, other.maximum_count)
        )
        for key, count in other.buckets.items():
            self.buckets[key] = self.buckets.get(key, 0) + count

    def without(self, gone: "NumberSummary") -> "NumberSummary":
        """These numbers without those of `gone`, all of which must be among them. `can_lose` says whether the sums and the
        extremes are usable."""
        buckets = {key: count - gone.buckets.get(key, 0) for key, count in self.buckets.items()}
        rest = NumberSummary(
            count=self.count - gone.count,
            total=self.total - gone.total,
            minimum=self.minimum,
            maximum=self.maximum,
            minimum_count=self.minimum_count - (gone.minimum_count if gone.minimum == self.minimum else 0),
            maximum_count=self.maximum_count - (gone.maximum_count if gone.maximum == self.maximum else 0),
            buckets={key: count for key, count in buckets.items() if count > 0},
        )
        if not rest.count:
            return NumberSummary()
        rest.spread = max(0.0, self.spread - gone.spread - _between(rest, gone))
        return rest

    def can_lose(self, gone: "NumberSummary") -> bool:
        """Whether `without(gone)` has a usable mean and deviation, and the right extremes: after a very large number has
        gone, what is left of the sums is the rounding error that it left in them; and if an extreme goes, the next one is
        not known."""
        if self.count == gone.count:
            return True
        if gone.minimum == self.minimum and gone.minimum_count >= self.minimum_count:
            return False
        if gone.maximum == self.maximum and gone.maximum_count >= self.maximum_count:
            return False
        kept = [(abs(_value(key)), count - gone.buckets.get(key, 0)) for key, count in self.buckets.items()]
        sizes = bounded(sum(size * count for size, count in kept))
        squares = bounded(sum(size * size * count for size, count in kept))
        largest = max(abs(self.minimum or 0.0), abs(self.maximum or 0.0))
        return _EPSILON * self.count * largest <= _ROUNDING * sizes and _EPSILON * self.spread <= _ROUNDING * squares

    @property
    def mean(self) -> float | None:
        """The mean; `None` of no numbers, or if their sum is too large for a double."""
        return self.total / self.count if self.count and abs(self.total) < _LARGEST else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation of the population; `None` of no numbers, or if their squares are too large for a
        double."""
        return math.sqrt(self.spread / self.count) if self.count and self.spread < _LARGEST else None

    def quantile(self, share: float) -> float | None:
        """The number below which about `share` of the numbers lie, within `RELATIVE_ERROR`; `None` of no numbers."""
        if not self.count or self.minimum is None or self.maximum is None:
            return None
        rank, seen = share * (self.count - 1), 0
        for value, count in self.in_order():
            seen += count
            if seen > rank:
                return min(max(value, self.minimum), self.maximum)
        return self.maximum

    def in_order(self) -> list[tuple[float, int]]:
        """The buckets from the smallest to the largest: the number that stands for each, and how many lie in it. The bounds
        of buckets are the same in every summary."""
        return sorted((_value(key), count) for key, count in self.buckets.items())

    def counts_between(self, low: float, high: float, bins: int) -> list[float]:
        """The numbers per bin of equal width over [low, high]; the outermost bins also count those beyond.

        A bucket that several bins share is divided among them by width, so that bins narrower than buckets show no teeth.
        `high - low` must be finite.
        """
        counts, width = [0.0] * bins, (high - low) / bins or sys.float_info.min
        for key, count in self.buckets.items():
            begin, end = ((max(low, min(high, edge)) - low) / width for edge in _edges(key))
            for place in range(min(bins - 1, int(begin)), min(bins - 1, int(end)) + 1):
                inside = min(end, place + 1) - max(begin, place)
                counts[place] += count * (inside / (end - begin) if end > begin else 1)
        return counts

    def to_plain(self) -> dict[str, Any]:
        """The summary as a dict of plain values, for JSON."""
        return {item.name: getattr(self, item.name) for item in fields(self)} | {"buckets": dict(self.buckets)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """The summary that `to_plain` gave; fields that only other versions have are ignored."""
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in plain.items() if name in known})


def bucket_key(index: int, *, negative: bool) -> str:
    """The key of the bucket with that index, for numbers of that sign."""
    return f"{'n' if negative else 'p'}{index}"


def bounded(value: float) -> float:
    """A sum that is too large as the largest one: infinity cannot be subtracted, and JSON does not know it."""
    return max(-_LARGEST, min(_LARGEST, value))


ZERO_KEY = "z"


def _value(key: str) -> float:
    """The number that stands for those in a bucket."""
    if key == ZERO_KEY:
        return 0.0
    size = math.exp(min(_LOG_LARGEST, int(key[1:]) * LOG_GAMMA)) * 2 / (_GAMMA + 1)
    return -size if key[0] == "n" else size


def _edges(key: str) -> tuple[float, float]:
    """The edges of a bucket, the smaller one first."""
    if key == ZERO_KEY:
        return 0.0, 0.0
    inner, outer = (math.exp(min(_LOG_LARGEST, index * LOG_GAMMA)) for index in (int(key[1:]) - 1, int(key[1:])))
    return (-outer, -inner) if key[0] == "n" else (inner, outer)


def _between(one: NumberSummary, other: NumberSummary) -> float:
    """What the difference of two means adds to the spread of both together."""
    if not one.count or not other.count:
        return 0.0
    apart = one.total / one.count - other.total / other.count
    return bounded(apart * apart * (one.count * (other.count / (one.count + other.count))))


def _outermost(
    choose: Callable[[Iterable[float]], float], *extremes: tuple[float | None, int]
) -> tuple[float | None, int]:
    """The extreme of several sets of numbers, and how often it occurs in all of them, from those of each set."""
    values = [value for value, _ in extremes if value is not None]
    if not values:
        return None, 0
    chosen = choose(values)
    return chosen, sum(count for value, count in extremes if value == chosen)

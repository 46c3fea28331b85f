"""Statistics of many numbers that can be added up: of a part, of a table of thousands of parts, and back.

Quantiles come from counts per bucket, whose bounds grow by a constant factor, so that any quantile has a relative error
of at most 1 % (DDSketch: Masson, Rim and Lee, VLDB 2019). Counts of buckets can be added, and, unlike the state of most
sketches, subtracted again when a part leaves a table.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

RELATIVE_ERROR = 0.01
"""The largest relative error of a quantile."""
_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
LOG_GAMMA = math.log(_GAMMA)
SMALLEST = 1e-12
"""Numbers closer to zero than this are counted as zero in quantiles."""


@dataclass(kw_only=True, slots=True)
class NumberSummary:
    """Count, sums, extremes and buckets of finite numbers."""

    count: int = 0
    total: float = 0.0
    """Sum of the numbers."""
    squares: float = 0.0
    """Sum of their squares."""
    minimum: float | None = None
    maximum: float | None = None
    buckets: dict[str, int] = field(default_factory=dict)
    """Numbers per bucket: bucket `i` holds those in (gamma^(i-1), gamma^i], `-i` in front of a minus sign those of the
    opposite sign, and `0` those that count as zero. Keys are `p12`, `n-3` and `z`."""

    def add(self, other: "NumberSummary") -> None:
        """Add the other's numbers to these."""
        self.count += other.count
        self.total += other.total
        self.squares += other.squares
        self.minimum = _least(self.minimum, other.minimum)
        self.maximum = _greatest(self.maximum, other.maximum)
        for key, count in other.buckets.items():
            self.buckets[key] = self.buckets.get(key, 0) + count

    def without(self, gone: "NumberSummary") -> "NumberSummary":
        """These numbers without those of `gone`, all of which must be among them. An extreme that goes is replaced by the
        bound of the outermost bucket that is left."""
        buckets = {key: count - gone.buckets.get(key, 0) for key, count in self.buckets.items()}
        rest = NumberSummary(
            count=self.count - gone.count,
            total=self.total - gone.total,
            squares=max(0.0, self.squares - gone.squares),
            minimum=self.minimum,
            maximum=self.maximum,
            buckets={key: count for key, count in buckets.items() if count > 0},
        )
        if not rest.count:
            return NumberSummary()
        values = sorted(_value(key) for key in rest.buckets)
        if gone.minimum is not None and gone.minimum == self.minimum:
            rest.minimum = values[0]
        if gone.maximum is not None and gone.maximum == self.maximum:
            rest.maximum = values[-1]
        return rest

    @property
    def mean(self) -> float | None:
        """The mean; `None` of no numbers."""
        return self.total / self.count if self.count else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation of the population; `None` of no numbers."""
        if not self.count:
            return None
        mean = self.total / self.count
        return math.sqrt(max(0.0, self.squares / self.count - mean * mean))

    def quantile(self, share: float) -> float | None:
        """The number below which about `share` of the numbers lie, within `RELATIVE_ERROR`; `None` of no numbers."""
        if not self.count or self.minimum is None or self.maximum is None:
            return None
        rank, seen = share * (self.count - 1), 0
        for value, count in sorted((_value(key), count) for key, count in self.buckets.items()):
            seen += count
            if seen > rank:
                return min(max(value, self.minimum), self.maximum)
        return self.maximum

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """The summary that `dataclasses.asdict` gave."""
        return cls(**plain)


def bucket_key(index: int, *, negative: bool) -> str:
    """The key of the bucket with that index, for numbers of that sign."""
    return f"{'n' if negative else 'p'}{index}"


ZERO_KEY = "z"


def _value(key: str) -> float:
    """The number that stands for those in a bucket."""
    if key == ZERO_KEY:
        return 0.0
    size = 2 * _GAMMA ** int(key[1:]) / (_GAMMA + 1)
    return -size if key[0] == "n" else size


def _least(one: float | None, other: float | None) -> float | None:
    found = [value for value in (one, other) if value is not None]
    return min(found) if found else None


def _greatest(one: float | None, other: float | None) -> float | None:
    found = [value for value in (one, other) if value is not None]
    return max(found) if found else None

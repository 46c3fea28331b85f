"""Counts of what happened to the rows of a shard, a run or a table.

The predictor counts, each part's receipt stores its counts, and reports and metadata show their sums. There is one set
of numbers, and one way to add them up.
"""

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field, fields
from typing import Any, Self

from sparktorch_assets.number_summary import NumberSummary

CONFIDENCE_BINS = 20
"""Bins of equal width over [0, 1] in `confidence_histogram`."""


@dataclass(kw_only=True, slots=True)
class Tally:
    """Counts and seconds of one shard, or sums over many. In the end, `rows == predicted + failed + dropped`, and
    `rows + filtered + outside` are all rows of the shards."""

    rows: int = 0
    """Rows that reached the predictor, after the filter."""
    filtered: int = 0
    """Rows that the task's `where` excluded before that."""
    outside: int = 0
    """Rows of the same part of the input that are not in the partition that was scored."""
    predicted: int = 0
    failed: int = 0
    dropped: int = 0
    """Rows that a hook dropped on purpose."""
    truncated: int = 0
    """Predicted rows whose text or sequence was longer than `max_tokens` or `max_length`: the model saw only its
    beginning."""
    classes: dict[str, int] = field(default_factory=dict)
    """Predicted rows per class."""
    confidence_sum: float = 0.0
    """Sum of the confidences in [0, 1], which are those in the histogram. A single NaN or infinity would spoil every
    later sum."""
    confidence_histogram: list[int] = field(default_factory=lambda: [0] * CONFIDENCE_BINS)
    numbers: dict[str, NumberSummary] = field(default_factory=dict)
    """Statistics of the predicted numbers, by name: a regression's columns, the norms of vectors, labels per row."""
    marks: dict[str, int] = field(default_factory=dict)
    """Rows or values that a check of the output looks at, by what is odd about them."""
    confusion: dict[str, int] = field(default_factory=dict)
    """Rows whose true class is known, per pair of true and predicted class; see `tasks/outputs/truth.py` for the keys."""
    calibration_rows: dict[str, int] = field(default_factory=dict)
    """Rows whose true class is known, per bin of their confidence: `19` is the last of `CONFIDENCE_BINS`."""
    calibration_right: dict[str, int] = field(default_factory=dict)
    """Those of them whose predicted class is the true one."""
    calibration_confidence: dict[str, float] = field(default_factory=dict)
    """The sum of their confidences."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Failed rows per stage and exception type; never a row's contents."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds per phase: load, read, encode, forward, decode, hooks, write."""
    devices: dict[str, int] = field(default_factory=dict)
    """Rows per device."""
    batch_sizes: dict[str, int] = field(default_factory=dict)
    """Forward passes per number of rows."""
    splits: int = 0
    """Batches that ran out of memory and were halved."""
    agreement: float | None = None
    """Share of the first rows that got the same class as with fp32, if another precision is used; the lowest
    measured."""
    confidence_difference: float | None = None
    """Largest difference from the fp32 confidence among those rows."""

    def add(self, other: "Tally") -> None:
        """Add `other`'s numbers to this one's."""
        if other.agreement is not None and other.confidence_difference is not None:
            self.compared(other.agreement, other.confidence_difference)
        for name, found in other.numbers.items():
            self.numbers.setdefault(name, NumberSummary()).add(found)
        if any(other.confidence_histogram):
            bins = zip(self.confidence_histogram, other.confidence_histogram, strict=True)
            self.confidence_histogram = [mine + theirs for mine, theirs in bins]
        for name in _SUMS:
            if theirs := getattr(other, name):
                setattr(self, name, getattr(self, name) + theirs)
        for name in _SUMS_BY_KEY:
            if theirs := getattr(other, name):
                mine = getattr(self, name)
                for key, value in theirs.items():
                    mine[key] = mine.get(key, 0) + value

    def spend(self, phase: str, seconds: float) -> None:
        """Add `seconds` to a phase."""
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds

    def compared(self, agreement: float, confidence_difference: float) -> None:
        """Record a comparison with fp32; the worst one is kept."""
        self.agreement = min(agreement, 1.0 if self.agreement is None else self.agreement)
        self.confidence_difference = max(confidence_difference, self.confidence_difference or 0.0)

    @property
    def balanced(self) -> bool:
        """Whether every row is accounted for."""
        return self.rows == self.predicted + self.failed + self.dropped

    @property
    def all_rows(self) -> int:
        """The input's rows that are accounted for."""
        return self.rows + self.filtered + self.outside

    @property
    def confidence_mean(self) -> float | None:
        """Mean of the confidences in [0, 1]; `None` if there are none."""
        counted = sum(self.confidence_histogram)
        return self.confidence_sum / counted if counted else None

    def to_plain(self) -> dict[str, Any]:
        """The tally as a dict of plain values, for JSON. It shares no dict or list with the tally."""
        # Not `asdict`, which takes ten times as long: it copies every key and number of a part's buckets by a call.
        plain = {name: getattr(self, name) for name in _NAMES}
        plain["numbers"] = {name: found.to_plain() for name, found in self.numbers.items()}
        return {name: copy(value) if isinstance(value, dict | list) else value for name, value in plain.items()}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """The tally that `to_plain` returned; fields that only other versions have are ignored."""
        tally = cls(**{name: value for name, value in plain.items() if name in _NAMES})
        tally.numbers = {name: NumberSummary.from_plain(found) for name, found in plain.get("numbers", {}).items()}
        return tally

    @classmethod
    def total(cls, tallies: Iterable["Tally"]) -> Self:
        """The sum of the tallies."""
        total = cls()
        for tally in tallies:
            total.add(tally)
        return total


# Looked up once: a table of a million parts adds up a million tallies.
_NAMES = dict.fromkeys(item.name for item in fields(Tally))
_SUMS = [item.name for item in fields(Tally) if item.default == 0]
_SUMS_BY_KEY = [item.name for item in fields(Tally) if item.default_factory is dict and item.name != "numbers"]

"""What happened to the rows of one stretch of work: counted in the predictor, stored in each part's receipt, summed in
reports, shown as metadata. One set of numbers, one way to add them up.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

CONFIDENCE_BINS = 20
"""Bins of equal width over [0, 1] in `confidence_histogram`."""


@dataclass(kw_only=True, slots=True)
class Tally:
    """Counts and seconds of one shard, or the sum over many. `rows == predicted + failed + dropped` when all is done."""

    rows: int = 0
    """Rows that reached the predictor (the filter's survivors)."""
    filtered: int = 0
    """Rows that the task's `where` left out before that."""
    predicted: int = 0
    failed: int = 0
    dropped: int = 0
    """Rows that a hook dropped on purpose."""
    truncated: int = 0
    """Predicted rows whose text or sequence was longer than `max_tokens` or `max_length`: the model saw its beginning."""
    classes: dict[str, int] = field(default_factory=dict)
    """Predicted rows per class."""
    confidence_sum: float = 0.0
    """The sum of the confidences in [0, 1], the ones in the histogram: one that is infinite or NaN would stay in it."""
    confidence_histogram: list[int] = field(default_factory=lambda: [0] * CONFIDENCE_BINS)
    reasons: dict[str, int] = field(default_factory=dict)
    """Failed rows per stage and exception type; never a row's contents."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds by phase: load, read, encode, forward, decode, hooks, write."""
    devices: dict[str, int] = field(default_factory=dict)
    """Rows per device."""
    batch_sizes: dict[str, int] = field(default_factory=dict)
    """Forward passes per number of rows."""
    splits: int = 0
    """Batches that did not fit into memory and were halved."""
    ceilings: dict[str, int] = field(default_factory=dict)
    """`device:length bucket` (0 without texts) -> rows known to fit in the end, where memory ran out; the most found."""
    agreement: float | None = None
    """The share of the first rows that got the class that fp32 gives, in another precision; the lowest found."""
    confidence_difference: float | None = None
    """The largest difference from fp32's confidence in those rows."""

    def add(self, other: "Tally") -> None:
        """Add `other`'s numbers to this one's."""
        if other.agreement is not None and other.confidence_difference is not None:
            self.compared(other.agreement, other.confidence_difference)
        for bucket, rows in other.ceilings.items():
            self.ceilings[bucket] = max(rows, self.ceilings.get(bucket, 0))
        for item in fields(self):
            if item.name in ("agreement", "confidence_difference", "ceilings"):
                continue
            mine, theirs = getattr(self, item.name), getattr(other, item.name)
            if isinstance(mine, dict):
                for key, value in theirs.items():
                    mine[key] = mine.get(key, 0) + value
            elif isinstance(mine, list):
                setattr(self, item.name, [a + b for a, b in zip(mine, theirs, strict=True)])
            else:
                setattr(self, item.name, mine + theirs)

    def spend(self, phase: str, seconds: float) -> None:
        """Add `seconds` to a phase."""
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds

    def compared(self, agreement: float, confidence_difference: float) -> None:
        """Take note of a comparison with fp32: the worst one counts."""
        self.agreement = min(agreement, 1.0 if self.agreement is None else self.agreement)
        self.confidence_difference = max(confidence_difference, self.confidence_difference or 0.0)

    def fits_now(self, device: str, ceilings: Mapping[int, int]) -> None:
        """Take note of the rows per length bucket that are known to fit on a kind of device, in place of what was known."""
        others = {bucket: rows for bucket, rows in self.ceilings.items() if not bucket.startswith(f"{device}:")}
        self.ceilings = others | {f"{device}:{bucket}": rows for bucket, rows in ceilings.items()}

    @property
    def balanced(self) -> bool:
        """Whether every row is accounted for."""
        return self.rows == self.predicted + self.failed + self.dropped

    @property
    def confidence_mean(self) -> float | None:
        """The mean of the confidences in [0, 1]; `None` where there are none."""
        counted = sum(self.confidence_histogram)
        return self.confidence_sum / counted if counted else None

    def to_plain(self) -> dict[str, Any]:
        """Numbers, strings, lists and dicts alone, for JSON."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """The tally that `to_plain` gave; names it does not know (a newer version's) are left out."""
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in plain.items() if name in known})

    @classmethod
    def total(cls, tallies: Iterable["Tally"]) -> Self:
        """The sum of all of them."""
        total = cls()
        for tally in tallies:
            total.add(tally)
        return total

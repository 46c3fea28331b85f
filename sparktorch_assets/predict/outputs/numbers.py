"""Statistics of columns of numbers, for receipts."""

import numpy as np
import numpy.typing as npt

from sparktorch_assets.number_summary import LOG_GAMMA, SMALLEST, ZERO_KEY, NumberSummary, bounded, bucket_key
from sparktorch_assets.tally import Tally


def summary(values: npt.NDArray[np.floating]) -> NumberSummary:
    """The statistics of these numbers; those that are NaN or infinite do not count."""
    finite = values[np.isfinite(values)].astype(np.float64)
    if not len(finite):
        return NumberSummary()
    sizes = np.abs(finite)
    counted = sizes >= SMALLEST
    buckets = {ZERO_KEY: len(finite) - int(counted.sum())} if not counted.all() else {}
    for negative in (False, True):
        chosen = sizes[counted & ((finite < 0) == negative)]
        if len(chosen):
            indices, counts = np.unique(np.ceil(np.log(chosen) / LOG_GAMMA).astype(np.int64), return_counts=True)
            buckets |= {
                bucket_key(index, negative=negative): count
                for index, count in zip(indices.tolist(), counts.tolist(), strict=True)
            }
    with np.errstate(over="ignore"):
        total = bounded(float(finite.sum()))
        spread = bounded(float(np.square(finite - total / len(finite)).sum()))
    minimum, maximum = float(finite.min()), float(finite.max())
    return NumberSummary(
        count=len(finite),
        total=total,
        spread=spread,
        minimum=minimum,
        maximum=maximum,
        minimum_count=int((finite == minimum).sum()),
        maximum_count=int((finite == maximum).sum()),
        buckets=buckets,
    )


def count_numbers(name: str, values: npt.NDArray[np.floating], tally: Tally) -> None:
    """Add the statistics of these numbers to the tally, under that name. Without finite numbers, there is no such name."""
    found = summary(values)
    if found.count:
        tally.numbers.setdefault(name, NumberSummary()).add(found)


def mark(name: str, rows: int, tally: Tally) -> None:
    """Count rows or values that a check looks at."""
    if rows:
        tally.marks[name] = tally.marks.get(name, 0) + rows

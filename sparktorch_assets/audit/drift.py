"""How far two sets of counts lie apart: two measures, and the bins in which numbers are counted for them."""

import math
from collections.abc import Sequence

from sparktorch_assets.number_summary import NumberSummary

NUMBER_BINS = 10
_PSEUDO_COUNT = 0.5
"""Added to every count for the population stability index, which is infinite if a share is 0 (Krichevsky and Trofimov, IEEE
Transactions on Information Theory 27, 1981)."""


def population_stability_index(now: Sequence[int], before: Sequence[int]) -> float:
    """The sum of (p - q) ln(p / q) over the classes or bins, where p and q are the shares now and before.

    It is the symmetric divergence of Kullback and Leibler (Siddiqi, Credit Risk Scorecards, 2006). Half a row is added to
    every count.

    Args:
        now: rows per class or bin.
        before: the same of the earlier publications.

    Returns:
        0 for equal shares; there is no upper bound. 0 as well if one of the two has no rows.

    >>> round(population_stability_index([60, 40], [40, 60]), 3)
    0.159
    """
    if not sum(now) or not sum(before):
        return 0.0
    pairs = zip(_smooth_shares(now), _smooth_shares(before), strict=True)
    return sum((p - q) * math.log(p / q) for p, q in pairs)


def total_variation(now: Sequence[int], before: Sequence[int]) -> float:
    """Half the sum of |p - q| over the classes or bins: the share of the rows that would have to change.

    Returns:
        From 0, for equal shares, to 1. 0 as well if one of the two has no rows.

    >>> round(total_variation([60, 40], [40, 60]), 3)
    0.2
    """
    rows_now, rows_before = sum(now), sum(before)
    if not rows_now or not rows_before:
        return 0.0
    return sum(abs(a / rows_now - b / rows_before) for a, b in zip(now, before, strict=True)) / 2


def by_chance(now: Sequence[int], before: Sequence[int]) -> float:
    """The population stability index that is to be expected if nothing has changed, because rows are few: one less than
    the number of classes or bins, times 1/n + 1/m for n and m rows (Yurdakul and Naranjo, Journal of Risk Model Validation
    14, 2020)."""
    used = sum(a + b > 0 for a, b in zip(now, before, strict=True))
    if not sum(now) or not sum(before):
        return 0.0
    return (used - 1) * (1 / sum(now) + 1 / sum(before))


def number_bins(now: NumberSummary, before: NumberSummary) -> tuple[list[int], list[int]]:
    """How many of the numbers of each summary lie in bins that hold about equal shares of both, taken with equal weight.

    The bounds of bins are bounds of the summaries' own buckets, so that all counts are exact. Equal numbers are never
    divided, so that there are fewer bins if a few numbers occur often.
    """
    counts: dict[float, list[int]] = {}
    for side, found in enumerate((now, before)):
        for value, count in found.in_order():
            counts.setdefault(value, [0, 0])[side] += count
    bins: tuple[list[int], list[int]] = ([], [])
    open_bin, filled, closed = [0, 0], 0.0, 0
    weights = [1 / (2 * found.count) if found.count else 0.0 for found in (now, before)]
    for value in sorted(counts):
        open_bin = [a + b for a, b in zip(open_bin, counts[value], strict=True)]
        filled += sum(count * weight for count, weight in zip(counts[value], weights, strict=True))
        if filled * NUMBER_BINS >= closed + 1:
            closed = math.floor(filled * NUMBER_BINS)
            for side in (0, 1):
                bins[side].append(open_bin[side])
            open_bin = [0, 0]
    if any(open_bin):  # rounding may leave the last bin open
        for side in (0, 1):
            bins[side].append(open_bin[side])
    return bins


def _smooth_shares(counts: Sequence[int]) -> list[float]:
    whole = sum(counts) + _PSEUDO_COUNT * len(counts)
    return [(count + _PSEUDO_COUNT) / whole for count in counts]

"""Statistics that are added up and taken apart again, against NumPy's over all numbers at once."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sparktorch_assets.number_summary import RELATIVE_ERROR, SMALLEST, NumberSummary
from sparktorch_assets.predict.outputs.numbers import summary

NUMBERS = st.lists(st.floats(-1e9, 1e9).filter(lambda value: value == 0 or abs(value) > SMALLEST), max_size=30)


def of(values):
    return summary(np.array(values, dtype=np.float64))


@given(NUMBERS, NUMBERS)
@example([1.0, -1.0], [0.0])
def test_the_statistics_of_parts_are_those_of_the_whole(one, other):
    total = of(one)
    total.add(of(other))
    values = np.array([*one, *other])
    assert total.count == len(values)
    if not len(values):
        assert (total.mean, total.deviation, total.quantile(0.5), total.minimum) == (None,) * 4
        return
    assert (total.minimum, total.maximum) == (values.min(), values.max())
    assert total.mean == pytest.approx(values.mean(), rel=1e-9, abs=1e-6)
    assert total.deviation == pytest.approx(values.std(), rel=1e-6, abs=1e-9 * np.abs(values).max())
    assert total == NumberSummary.from_plain(json.loads(json.dumps(dataclasses.asdict(total))))


@given(NUMBERS.filter(bool), st.sampled_from([0.0, 0.01, 0.25, 0.5, 0.9, 1.0]))
def test_quantiles_are_within_their_error(values, share):
    """Of the number at that rank."""
    ordered = sorted(values)
    exact = ordered[int(share * (len(ordered) - 1))]
    assert of(values).quantile(share) == pytest.approx(exact, rel=RELATIVE_ERROR * 1.001)


@given(NUMBERS, NUMBERS)
def test_what_was_added_can_be_taken_away(kept, gone):
    whole = of(kept)
    whole.add(of(gone))
    rest, wanted = whole.without(of(gone)), of(kept)
    assert (rest.count, rest.buckets) == (wanted.count, wanted.buckets)
    if not kept:
        assert rest == NumberSummary()
    elif whole.can_lose(of(gone)):
        assert (rest.minimum, rest.minimum_count) == (min(kept), kept.count(min(kept)))
        assert (rest.maximum, rest.maximum_count) == (max(kept), kept.count(max(kept)))


def test_an_extreme_can_be_lost_while_others_like_it_are_left():
    whole = of([1.0, 1.0, 2.0, 3.0])
    assert whole.can_lose(of([1.0, 2.0]))
    assert not whole.can_lose(of([1.0, 1.0]))
    assert not whole.can_lose(of([3.0]))
    uncounted = NumberSummary(count=2, minimum=1.0, maximum=2.0)  # of a version that did not count extremes
    assert not uncounted.can_lose(of([1.0]))


def test_numbers_that_are_not_finite_do_not_count():
    found = of([1.0, np.nan, np.inf, -np.inf])
    assert (found.count, found.minimum, found.maximum, found.total) == (1, 1.0, 1.0, 1.0)


def test_sums_beyond_the_largest_number_stay_numbers():
    """JSON has no infinity, and infinity minus infinity is none."""
    found = of([1e308, 1e308])
    assert json.loads(json.dumps(dataclasses.asdict(found), allow_nan=False))["count"] == 2
    assert found.without(of([1e308])).count == 1


def test_the_deviation_of_numbers_far_from_zero():
    """Times in seconds, for instance: the sum of their squares has too few digits."""
    parts = [1.7e9 + np.arange(10.0), 1.7e9 + np.arange(50.0, 60.0)]
    total = of(parts[0])
    total.add(of(parts[1]))
    assert total.deviation == pytest.approx(np.concatenate(parts).std(), rel=1e-6)
    assert total.without(of(parts[1])).deviation == pytest.approx(parts[0].std(), rel=1e-6)


def test_the_largest_numbers_have_quantiles_and_finite_sums():
    found = of([1.79e308, -1.79e308, 1.5])
    assert found.quantile(1.0) == pytest.approx(1.79e308, rel=RELATIVE_ERROR * 1.001)
    for _ in range(3):
        found.add(of([1.79e308]))
    json.dumps(dataclasses.asdict(found), allow_nan=False)
    assert (found.mean, found.deviation) == (None, None)


def test_fields_of_other_versions_are_ignored():
    assert NumberSummary.from_plain({"count": 1, "total": 2.0, "squares": 4.0}) == NumberSummary(count=1, total=2.0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50).filter(lambda found: min(found) < max(found)))
def test_bins_hold_all_numbers_and_each_about_its_own(values):
    """Every number is in one bin, up to the width of its bucket; those beyond the ends are in the outermost ones."""
    found = summary(np.array(values))
    low, high = found.minimum, found.maximum
    counts = found.counts_between(low, high, 4)
    assert sum(counts) == pytest.approx(len(values))
    exact = np.histogram(values, bins=4, range=(low, high))[0]
    edges = np.linspace(low, high, 5)[1:-1]
    unsure = sum(
        1 for value in values for edge in edges if abs(value - edge) <= 0.021 * max(abs(value), abs(edge), 1e-9)
    )
    assert np.abs(np.array(counts) - exact).max() <= unsure + 1e-9
    assert sum(found.counts_between(-1.0, 1.0, 2)) == pytest.approx(len(values))

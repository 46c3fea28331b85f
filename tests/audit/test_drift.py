"""Two measures of drift, by hand and by their properties; and the bins in which numbers are counted."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparktorch_assets.audit.drift import (
    NUMBER_BINS,
    by_chance,
    number_bins,
    population_stability_index,
    total_variation,
)
from sparktorch_assets.number_summary import NumberSummary
from sparktorch_assets.predict.outputs.numbers import summary

COUNTS = st.lists(st.integers(0, 10**6), min_size=1, max_size=12)
PAIRS = st.integers(1, 12).flatmap(
    lambda size: st.tuples(*[st.lists(st.integers(0, 10**6), min_size=size, max_size=size)] * 2)
)
NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)


@pytest.mark.promise("O142")
def test_the_stability_index_is_the_sum_over_smoothed_shares():
    """By hand: 60.5/101 and 40.5/101 against each other, twice."""
    share, other = 60.5 / 101, 40.5 / 101
    expected = 2 * (share - other) * math.log(share / other)
    assert population_stability_index([60, 40], [40, 60]) == pytest.approx(expected)


def test_a_class_that_was_not_there_counts_as_half_a_row():
    now, before = (90.5 / 101, 10.5 / 101), (100.5 / 101, 0.5 / 101)
    expected = sum((p - q) * math.log(p / q) for p, q in zip(now, before, strict=True))
    assert population_stability_index([90, 10], [100, 0]) == pytest.approx(expected)
    assert population_stability_index([90, 10], [100, 0]) > 0.25


@pytest.mark.promise("O142")
@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        ([60, 40], [40, 60], 0.2),
        ([1, 0], [0, 7], 1.0),
        ([5, 5], [500, 500], 0.0),
        ([2, 1, 1], [1, 1, 2], 0.25),
    ],
)
def test_the_distance_is_the_share_of_rows_that_would_have_to_change(now, before, expected):
    assert total_variation(now, before) == pytest.approx(expected)


@given(COUNTS)
def test_nothing_has_drifted_from_itself(counts):
    assert population_stability_index(counts, counts) == 0
    assert total_variation(counts, counts) == 0


@given(PAIRS)
def test_both_measures_are_symmetric_and_not_negative(pair):
    one, other = pair
    for measure in (population_stability_index, total_variation):
        assert measure(one, other) == pytest.approx(measure(other, one), abs=1e-12)
        assert measure(one, other) >= 0
    assert total_variation(one, other) <= 1 + 1e-12


@given(PAIRS, st.lists(st.integers(0, 10**6), min_size=12, max_size=12))
def test_the_distance_takes_no_detour(pair, third):
    one, other = pair
    between = third[: len(one)]
    if sum(one) and sum(other) and sum(between):
        assert total_variation(one, other) <= total_variation(one, between) + total_variation(between, other) + 1e-9


@pytest.mark.parametrize("measure", [population_stability_index, total_variation, by_chance])
def test_without_rows_there_is_nothing_to_measure(measure):
    assert measure([0, 0], [3, 4]) == 0
    assert measure([3, 4], [0, 0]) == 0


@pytest.mark.promise("O142")
def test_few_rows_drift_by_chance_as_much_as_is_said():
    """Draws from one distribution: the mean index is what `by_chance` says, within its own error."""
    draws = np.random.default_rng(7)
    shares = np.full(8, 1 / 8)
    found = [population_stability_index(*draws.multinomial(400, shares, size=2).tolist()) for _ in range(400)]
    assert np.mean(found) == pytest.approx(by_chance([50] * 8, [50] * 8), rel=0.1)


@pytest.mark.promise("O143")
@given(NUMBERS, NUMBERS)
def test_bins_lose_no_number_and_treat_both_sides_alike(one, other):
    now, before = summary(np.array(one)), summary(np.array(other))
    counts = number_bins(now, before)
    assert [sum(side) for side in counts] == [now.count, before.count]
    assert len(counts[0]) == len(counts[1]) <= NUMBER_BINS
    assert number_bins(before, now) == counts[::-1]


def test_bins_of_many_numbers_hold_a_tenth_each():
    spread = summary(np.random.default_rng(1).normal(10, 3, 20_000))
    bins, _ = number_bins(spread, spread)
    assert len(bins) == NUMBER_BINS
    assert max(bins) / spread.count < 0.16  # a bucket is never divided


@pytest.mark.parametrize("rows", [3, 1_000_000])
def test_a_constant_that_becomes_another_is_seen_however_few_rows_there_are(rows):
    """Bins by the earlier numbers alone would have a single one here."""
    before, now = summary(np.zeros(1_000)), NumberSummary()
    now.add(summary(np.full(3, 5.0)))
    counts = number_bins(now, before)
    assert total_variation(*counts) == 1
    assert population_stability_index(*counts) > 1


def test_a_shift_by_a_deviation_is_above_the_rule_of_thumb_and_a_small_one_below():
    draws = np.random.default_rng(3)
    before = summary(draws.normal(100, 10, 20_000))
    far, near = summary(draws.normal(110, 10, 20_000)), summary(draws.normal(101, 10, 20_000))
    assert population_stability_index(*number_bins(far, before)) > 0.25
    assert population_stability_index(*number_bins(near, before)) < 0.1

"""The time left, as a person watches it: near the truth, and without jumps."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparktorch_assets.spark.score.progress.pace import Pace

LOOK_S = 2.0


def watch(total, done_at, seconds):
    """(seconds, time left) of every look."""
    pace = Pace(total)
    looks = [LOOK_S * number for number in range(1, int(seconds / LOOK_S) + 1)]
    return [(at, pace.look(at, done_at(at))) for at in looks]


def steps(rows_per_s, total, load_s, step_s, jitter=()):
    """Rows that are done after so many seconds: none while the model loads, then in steps."""
    times = [load_s + step_s * number + late for number, late in zip(range(1, 2_000), itertools.cycle(jitter or [0.0]))]
    return lambda at: min(total, round(rows_per_s * step_s) * sum(time <= at for time in times))


@settings(max_examples=40)
@given(st.floats(0, 15), st.floats(0.5, 20), st.lists(st.floats(0, 1), min_size=1, max_size=7), st.integers(200, 900))
def test_the_time_left_runs_down_without_jumps(load_s, step_s, jitter, work_s):
    """However the counts come, from one look to the next the time left is nearly what it was, less the time between."""
    total = 100 * work_s
    done_at = steps(100, total, load_s, step_s, [late * min(step_s, 3.0) for late in jitter])
    found = [(at, left) for at, left in watch(total, done_at, load_s + work_s) if left is not None]
    settled = [(at, left) for at, left in found if at > load_s + 4 * step_s + 10]
    for (_, before), (at, after) in itertools.pairwise(settled):
        if done_at(at) < total:
            assert abs(after - (before - LOOK_S)) <= 0.12 * before + LOOK_S
    for at, left in settled:
        truth = load_s + work_s - at
        assert abs(left - truth) <= 0.25 * truth + step_s + 5


def test_a_slow_network_on_a_wide_table():
    """Whole windows of 64 MiB made it 85, 123 and 57 seconds in a row; batches of a second do not."""
    found = [left for _, left in watch(9_000, steps(100, 9_000, 4.0, 1.0), 94) if left is not None]
    assert all(abs(after - before) < 12 for before, after in itertools.pairwise(found))
    assert found[-1] == 0.0


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_a_change_of_speed_is_noticed(factor):
    total = 200_000
    done_at = lambda at: round(min(total, 100 * min(at, 300) + 100 * factor * max(at - 300, 0)))  # noqa: E731
    found = dict(watch(total, done_at, 500))
    truth = (total - done_at(490)) / (100 * factor)
    assert found[490.0] == pytest.approx(truth, rel=0.35)


def test_a_run_that_hangs_is_never_nearly_done():
    """While nothing comes, the time left does not run out: it grows."""
    found = dict(watch(10_000, lambda at: min(5_000, round(100 * at)), 400))
    assert found[60.0] > 40
    assert found[400.0] > found[200.0] > found[100.0]


def test_the_ends():
    """No estimate before the second rows; nothing left after the last; and no division by nothing between."""
    pace = Pace(10)
    assert (pace.look(0.0, 0), pace.rows_per_s) == (None, 0.0)
    assert pace.look(0.0, 5) is None
    assert math.isfinite(pace.look(0.0, 6))
    assert pace.look(4.0, 10) == 0.0
    assert Pace(0).look(1.0, 0) is None

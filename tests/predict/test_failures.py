"""What one bad row costs: itself, and few calls to find it. Whatever fails, all other rows get through, once each."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.failures import PATIENCE_ROWS, PIECES, Quarantine


class Step:
    """Raises for rows in `bad`, and at every `flaky`-th call whatever the rows; counts what it was asked."""

    def __init__(self, bad, flaky=0):
        self.bad, self.flaky = set(bad), flaky
        self.calls = self.rows = 0

    def __call__(self, rows):
        self.calls += 1
        self.rows += len(rows)
        if self.flaky and self.calls % self.flaky == 0:
            raise RuntimeError("now and then")
        if self.bad & set(rows.tolist()):
            raise ValueError(f"bad among {len(rows)}")
        return rows * 10


@given(st.integers(0, 300), st.sets(st.integers(1, 299)), st.sampled_from([0, 2, 3, 7]))
def test_all_rows_but_the_failing_ones_get_through_once(rows, bad, flaky):
    """Pieces and failures together are all rows, in order; only bad rows fail, unless calls fail at random."""
    step, quarantine = Step(bad, flaky), Quarantine("t")
    quarantine.run("forward", np.array([0]), Step([]))  # something once got through
    pieces, failures = quarantine.run("forward", np.arange(rows), step)
    good = np.concatenate([part for part, _ in pieces]) if pieces else np.arange(0)
    assert (np.diff(good) > 0).all()
    assert sorted([*good.tolist(), *failures]) == list(range(rows))
    assert all((result == part * 10).all() for part, result in pieces)
    assert set(failures) >= bad & set(range(rows))
    if not flaky:
        assert set(failures) <= bad
        assert all(failure.text == "forward: ValueError: bad among 1" for failure in failures.values())


@given(st.integers(2, 20_000), st.data())
def test_one_bad_row_is_found_in_few_calls(rows, data):
    """Calls grow with the logarithm of the rows, and what is predicted twice is about a third of them."""
    step = Step([data.draw(st.integers(0, rows - 1))])
    Quarantine("t").run("forward", np.arange(rows), step)
    depth = math.ceil(math.log(rows, PIECES))
    assert step.calls <= (PIECES - 1) * depth + 3
    assert step.rows <= rows + rows * (1 + 1 / (PIECES - 1)) + PIECES * (depth + 1)


@given(st.integers(100, 2_000), st.floats(0.01, 1.0))
def test_many_bad_rows_cost_no_more_than_each_row_at_every_depth(rows, share):
    """Even where most rows fail, no row is tried again for every other that fails."""
    bad = np.random.default_rng(rows).random(rows) < share
    step, quarantine = Step(np.flatnonzero(bad)), Quarantine("t")
    quarantine.run("forward", np.array([rows]), Step([]))
    quarantine.run("forward", np.arange(rows), step)
    assert step.rows <= 4 * rows * math.log2(rows)


def test_rows_that_all_fail_end_the_search_with_the_models_own_error():
    """It is not about single rows when none ever got through."""
    step = Step(range(10_000))
    with pytest.raises(ModelError, match="rows all failed in forward.*The last error: ValueError: bad among 1"):
        Quarantine("t").run("forward", np.arange(10_000), step)
    assert step.calls < 10 * PATIENCE_ROWS

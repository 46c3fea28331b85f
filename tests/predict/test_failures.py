"""What one bad row costs: itself, and few calls to find it. Whatever fails, all other rows get through, once each."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparktorch_assets.errors import ModelError
from sparktorch_assets.predict.failures import FAN_OUT, FEW_ROWS, PATIENCE_ROWS, PATIENCE_SEEN, Quarantine


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


@pytest.mark.promise("M53")
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


@pytest.mark.promise("M55")
@given(st.integers(2, 20_000), st.data())
def test_one_bad_row_is_found_in_few_calls(rows, data):
    """Calls grow with the logarithm of the rows, and what is predicted twice is about a third of them, and a few."""
    step = Step([data.draw(st.integers(0, rows - 1))])
    Quarantine("t").run("forward", np.arange(rows), step)
    depth = math.ceil(math.log(rows, FAN_OUT))
    assert step.calls <= (FAN_OUT - 1) * depth + 3
    assert step.rows <= rows + rows * (1 + 1 / (FAN_OUT - 1)) + FAN_OUT * (depth + 1) + FEW_ROWS


@given(st.integers(100, 2_000), st.floats(0.01, 1.0))
def test_many_bad_rows_cost_no_more_than_each_row_at_every_depth(rows, share):
    """Even where most rows fail, no row is tried again for every other that fails."""
    bad = np.random.default_rng(rows).random(rows) < share
    step, quarantine = Step(np.flatnonzero(bad)), Quarantine("t")
    quarantine.run("forward", np.array([rows]), Step([]))
    quarantine.run("forward", np.arange(rows), step)
    assert step.rows <= 4 * rows * math.log2(rows)


@pytest.mark.parametrize("bad", [set(), {5}])
@pytest.mark.parametrize("most", [1, 8, 64])
def test_calls_that_fail_for_their_size_cost_no_more_than_many_bad_rows(most, bad):
    """No row of theirs fails alone: that the rest is fine cannot be concluded from the first ones."""
    rows, tried = 4_096, 0

    def step(part):
        nonlocal tried
        tried += len(part)
        if len(part) > most or bad & set(part.tolist()):
            raise ValueError("too many")
        return part

    pieces, failures = Quarantine("t").run("forward", np.arange(rows), step)
    assert set(failures) == bad
    assert sum(len(part) for part, _ in pieces) == rows - len(bad)
    assert tried <= 2 * rows * (math.log(rows, FAN_OUT) + 2)


def test_rows_that_all_fail_end_the_search_with_the_models_own_error():
    """It is not about single rows when none ever got through."""
    step = Step(range(10_000))
    with pytest.raises(
        ModelError, match="every row that was tried failed in forward.*The last error: ValueError: bad among 1"
    ):
        Quarantine("t").run("forward", np.arange(10_000), step)
    assert step.calls < 10 * PATIENCE_ROWS


class PanicException(BaseException):
    """What pyo3 raises for a panic of Rust code."""


PanicException.__module__ = "pyo3_runtime"


class UnprintableError(ValueError):
    """An exception that cannot say what is wrong."""

    def __str__(self):
        raise RuntimeError("no words")


class NotTextError(ValueError):
    def __str__(self):
        return 7  # noqa: PLE0307  (on purpose)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PanicException("index out of range"), "s: PanicException: index out of range"),
        (UnprintableError(), "s: UnprintableError: its message cannot be shown"),
        (NotTextError(), "s: NotTextError: its message cannot be shown"),
        (ValueError("x" * 50_000_000), f"s: ValueError: {'x' * 200}"),
        (ValueError("lone \ud800 surrogate"), "s: ValueError: lone ? surrogate"),
        (type("odd: name", (ValueError,), {})("m"), "s: Exception: m"),
        (ValueError("  two\n lines "), "s: ValueError: two lines"),
    ],
    ids=["panic", "raises", "no text", "long", "surrogate", "odd class", "lines"],
)
def test_any_exception_costs_its_row_and_leaves_a_message_that_can_be_written(error, text):
    """Whatever a user's code raises, and however it shows itself."""

    def step(rows):
        if 3 in rows:
            raise error
        return rows

    pieces, failures = Quarantine("t").run("s", np.arange(8), step)
    assert {row: failure.text for row, failure in failures.items()} == {3: text}
    assert sum(len(part) for part, _ in pieces) == 7
    text.encode("utf-8")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_is_no_rows_failure(kind):
    """Whoever asks the process to stop is heard."""

    def step(rows):
        raise kind

    with pytest.raises(kind):
        Quarantine("t").run("s", np.arange(8), step)


@given(
    bad=st.sets(st.integers(0, 9_999), min_size=20, max_size=20)
    | st.integers(0, 9_980).map(lambda first: set(range(first, first + 20))),
    batch_rows=st.sampled_from([1, 7, 16, 32, 256, 1_024, 10_000]),
)
@settings(deadline=None, max_examples=60)
def test_twenty_bad_rows_among_ten_thousand_cost_the_same_wherever_they_stand(bad, batch_rows):
    """Whether a step is hopeless does not depend on which rows come first."""
    step, quarantine = Step(bad), Quarantine("t")
    failures = {}
    for start in range(0, 10_000, batch_rows):
        failures |= quarantine.run("forward", np.arange(start, min(start + batch_rows, 10_000)), step)[1]
    quarantine.finish()
    assert set(failures) == bad


@pytest.mark.promise("M59")
@pytest.mark.parametrize("batch_rows", [1, 7, 32, 256, 1_024])
def test_a_step_that_never_succeeds_ends_soon_whatever_the_batches(batch_rows):
    """After PATIENCE_SEEN rows and a few calls for each, and not after all of them."""
    step, quarantine = Step(range(100_000)), Quarantine("t")

    def run_all():
        for start in range(0, 100_000, batch_rows):
            quarantine.run("forward", np.arange(start, start + batch_rows), step)

    with pytest.raises(ModelError, match="every row that was tried failed in forward.*ValueError: bad among 1"):
        run_all()
    assert step.calls < 4 * PATIENCE_SEEN


@pytest.mark.promise("M59")
@pytest.mark.parametrize("rows", [1, 16, PATIENCE_SEEN - 1])
def test_few_rows_on_which_nothing_succeeds_are_failed_rows(rows):
    """They may be a small file of bad rows among good ones, which another worker reads."""
    quarantine = Quarantine("t")
    assert len(quarantine.run("forward", np.arange(rows), Step(range(rows)))[1]) == rows
    quarantine.finish()


@pytest.mark.promise("M59")
def test_a_table_on_which_nothing_succeeds_ends_with_the_models_own_error_at_its_last_row():
    """Also where its rows came one by one, so that none was ever sampled."""
    quarantine = Quarantine("t")
    step = Step(range(PATIENCE_SEEN))

    def run_all():
        for start in range(0, PATIENCE_SEEN, PATIENCE_SEEN // 4):
            quarantine.run("forward", np.arange(start, start + PATIENCE_SEEN // 4), step)
        quarantine.finish()

    with pytest.raises(ModelError, match="of them alone"):
        run_all()

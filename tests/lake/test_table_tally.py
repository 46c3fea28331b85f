"""Taking a part's tally away leaves the tally of the rest."""

from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparktorch_assets.lake import table_tally
from sparktorch_assets.lake.table_tally import EXTREMES, SUMS, _can_lose, _minus
from sparktorch_assets.number_summary import NumberSummary
from sparktorch_assets.predict.outputs.numbers import summary
from sparktorch_assets.tally import CONFIDENCE_BINS, Tally

COUNT = st.integers(0, 1000)
COUNTS = st.dictionaries(st.sampled_from("abc"), st.integers(1, 1000))


@st.composite
def tallies(draw) -> Tally:
    values = {}
    for item in fields(Tally):
        if item.name == "confidence_histogram":
            values[item.name] = draw(st.lists(COUNT, min_size=CONFIDENCE_BINS, max_size=CONFIDENCE_BINS))
        elif item.name == "numbers":
            numbers = st.lists(st.integers(-1000, 1000).map(float), max_size=5).map(
                lambda found: summary(np.array(found))
            )
            values[item.name] = draw(st.dictionaries(st.sampled_from("ab"), numbers))
        elif item.name in SUMS:
            values[item.name] = draw(COUNTS if isinstance(getattr(Tally(), item.name), dict) else COUNT)
    return Tally(**values)


def test_every_field_is_a_sum_or_an_extreme():
    assert {item.name for item in fields(Tally)} == SUMS | EXTREMES
    assert not SUMS & EXTREMES


@given(tallies(), tallies())
def test_what_was_added_can_be_taken_away(one, other):
    whole = Tally.total([one, other])
    rest = _minus(whole, other)
    known = {name: found.can_lose(other.numbers.get(name, NumberSummary())) for name, found in whole.numbers.items()}
    rest.seconds = {phase: seconds for phase, seconds in rest.seconds.items() if seconds}
    for tally in (rest, one):
        tally.numbers = {name: found for name, found in tally.numbers.items() if found.count}
        for name, found in tally.numbers.items():
            found.spread = pytest.approx(found.spread, rel=1e-9, abs=1e-6)
            if not known[name]:
                found.minimum = found.maximum = None
                found.minimum_count = found.maximum_count = 0
    assert rest == one


def test_a_very_large_number_is_not_subtracted():
    """Its rounding error would be all that is left of the sums."""
    large, small = (Tally(numbers={"a": summary(np.array(values))}) for values in ([1e20], [1.0, 2.0]))
    whole = Tally.total([small, small, large])
    assert _minus(whole, large).numbers["a"].mean != 1.5
    assert not _can_lose(whole, large)
    assert _can_lose(whole, small)
    assert _can_lose(whole, whole)
    assert _can_lose(Tally(), Tally())


def test_removing_a_very_large_number_reads_the_other_receipts(monkeypatch):
    receipts = {
        name: Tally(numbers={"a": summary(np.array([value]))})
        for name, value in zip("xyz", [1e20, 1.0, 2.0], strict=True)
    }
    monkeypatch.setattr(table_tally, "_stored", lambda _: Tally.total(receipts.values()))
    monkeypatch.setattr(table_tally, "receipts", lambda _, paths: {path: receipts[path] for path in paths})
    table = SimpleNamespace(snapshot=SimpleNamespace(parts=receipts))
    assert table_tally.tally_after(table, ["x"], []).numbers["a"].mean == 1.5
    assert table_tally.tally_after(table, ["y"], []).numbers["a"].count == 2


def test_an_extreme_that_goes_is_looked_up_in_the_other_receipts(monkeypatch):
    """Unless another part has the same one."""
    receipts = {
        name: Tally(numbers={"a": summary(np.array(values))})
        for name, values in (("x", [1.0, 5.0]), ("y", [1.0, 3.0]), ("z", [2.0, 4.0]))
    }
    read = []
    monkeypatch.setattr(table_tally, "_stored", lambda _: Tally.total(receipts.values()))
    monkeypatch.setattr(
        table_tally,
        "receipts",
        lambda _, paths: read.append(sorted(paths)) or {path: receipts[path] for path in paths},
    )
    table = SimpleNamespace(snapshot=SimpleNamespace(parts=receipts))
    for gone, others, extremes in (("x", [["y", "z"]], (1.0, 4.0)), ("y", [], (1.0, 5.0)), ("z", [], (1.0, 5.0))):
        read.clear()
        found = table_tally.tally_after(table, [gone], []).numbers["a"]
        assert read == [[gone], *others]
        assert (found.minimum, found.maximum) == extremes

"""Automation of partitions through random histories, compared with an oracle that knows what each was made from."""

import datetime as dt
from collections.abc import Callable
from itertools import groupby
from typing import Any

import dagster as dg
import pytest
from automation_world import TICK
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from partitioned_world import MONTHS, PartitionedWorld

from sparktorch_assets.orchestration.automation.staleness import WAITS

PARTS = MONTHS.get_partition_keys()
VERSIONS = st.sampled_from("123")
OUTCOMES = st.sampled_from(["ok", "ok", "ok", "fail", "cancel"])
MOSTLY = st.sampled_from([True, True, True, True, False])
RANGES = st.sampled_from([PARTS[first:last] for first in range(3) for last in range(first + 1, 4)])
READ = st.tuples(RANGES, st.tuples(VERSIONS, VERSIONS, VERSIONS)).map(lambda drawn: dict(zip(*drawn, strict=False)))
"""Partition -> the version that a run of E finds."""
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), READ, MOSTLY),
        st.tuples(st.just("train"), VERSIONS),
        st.tuples(st.just("deploy"), VERSIONS),
    ),
    max_size=2,
)
"""What can happen while a run of P or of E is in progress."""


class Partitions(RuleBasedStateMachine):
    """`data`, `model` and `code` are what is there, `made_from` what each partition's last successful run found."""

    def __init__(self) -> None:
        super().__init__()
        self.context = dg.DagsterInstance.ephemeral()
        self.world = PartitionedWorld(self.context.__enter__())
        self.data: dict[str, str] = {}
        self.model: str | None = None
        self.code = "1"
        self.made_from: dict[str, Any] = {}
        self.passed = True
        self.reading: list[str] = []
        self.predicting: list[str] = []
        self.tried: dict[str, list[dt.datetime]] = {}
        """When automation asked for what is there now, as long as every tick found just that, and it stale."""
        self.tried_for: dict[str, Any] = {}

    def teardown(self) -> None:
        self.context.__exit__(None, None, None)

    # The oracle.

    def there(self, part: str) -> Any:
        return (self.data.get(part), self.model, self.code)

    def stale(self, part: str) -> bool:
        return None not in self.there(part) and self.made_from.get(part) != self.there(part)

    def held_back(self, part: str) -> bool:
        checking = self.world.checked and bool(self.reading)
        return part in self.predicting or part in self.reading or checking or not self.passed

    # What can happen.

    @initialize(checked=st.booleans(), model=MOSTLY, predicted=st.booleans())
    def begin(self, checked: bool, model: bool, predicted: bool) -> None:
        self.world.checked = checked
        self.read(dict.fromkeys(PARTS, "1"), passes=True, outcome="ok", events=[])
        if model:
            self.train("1")
        if predicted:
            self.predict(PARTS, "ok", [])

    @rule(versions=READ, passes=MOSTLY, outcome=OUTCOMES, events=EVENTS)
    def read(self, versions: dict[str, str], passes: bool, outcome: str, events: list[Any]) -> None:
        self.reading = list(versions)
        self.world.read(versions, passes=passes, outcome=outcome, meanwhile=lambda: self._during(events))
        self.reading = []
        self.passed = not self.world.checked or (outcome == "ok" and passes)
        if outcome == "ok":
            self.data |= versions

    @rule(version=VERSIONS)
    def train(self, version: str) -> None:
        self.world.train(version)
        self.model = version

    @rule(version=VERSIONS)
    def deploy(self, version: str) -> None:
        self.world.code = self.code = version

    @rule()
    def wipe(self) -> None:
        self.world.wipe()
        self.made_from = {}

    @rule(parts=RANGES, outcome=OUTCOMES, events=EVENTS)
    def predict(self, parts: list[str], outcome: str, events: list[Any]) -> None:
        found = {part: self.there(part) for part in parts}
        self.predicting = list(parts)
        self.world.predict(*parts, outcome=outcome, meanwhile=lambda: self._during(events))
        self.predicting = []
        if outcome == "ok":
            self.made_from |= found

    @rule(later=st.sampled_from([TICK, *WAITS[1:]]), outcome=OUTCOMES, events=EVENTS)
    def tick(self, later: dt.timedelta, outcome: str, events: list[Any]) -> None:
        for parts in self._ranges(self.evaluate(later)):
            self.predict(parts, outcome, events)
            events = []

    def evaluate(self, later: dt.timedelta) -> set[str]:
        for part in PARTS:
            if self.tried_for.get(part) != self.there(part) or not self.stale(part):
                self.tried[part], self.tried_for[part] = [], self.there(part)
        requested = {str(part) for part in self.world.asked(later)}
        for part in requested:
            assert self.stale(part), f"{part}: {self.made_from.get(part)} was made from what is there"
            assert not self.held_back(part), f"{part}: in progress, or checks not passed"
            assert len(self.tried[part]) < len(WAITS), "once too often"
            if self.tried[part]:
                assert self.world.now - self.tried[part][-1] >= WAITS[len(self.tried[part])], "sooner than it may be"
            self.tried[part].append(self.world.now)
        for part in set(PARTS) - requested:
            if self.stale(part) and not self.held_back(part):
                assert self.tried[part], f"{part}: {self.made_from.get(part)} is left, {self.there(part)} is there"
        return requested

    def _during(self, events: list[Any]) -> None:
        happens: dict[str, Callable[..., None]] = {"train": self.train, "deploy": self.deploy}
        for name, *given in events:
            if name == "read":
                if not self.reading:
                    self.read(*given, outcome="ok", events=[])
            else:
                happens[name](*given)
        # What is asked for here is not carried out, as if the queue were long: it is only looked at.
        self.evaluate(WAITS[-1])

    @staticmethod
    def _ranges(parts: set[str]) -> list[list[str]]:
        """The ranges of consecutive partitions."""
        numbers = sorted(PARTS.index(part) for part in parts)
        return [
            [PARTS[number] for _, number in group]
            for _, group in groupby(enumerate(numbers), lambda found: found[1] - found[0])
        ]


class PartitionsToTheEnd(Partitions):
    """With a quiet time at the end of every history, after which nothing stale is left."""

    def teardown(self) -> None:
        try:
            self.train("new")
            self.read(dict.fromkeys(PARTS, "new"), passes=True, outcome="ok", events=[])
            for _ in range(len(WAITS)):
                self.tick(WAITS[-1], "ok", [])
            assert not [part for part in PARTS if self.stale(part)]
        finally:
            super().teardown()


@pytest.mark.slow
@pytest.mark.promise("O53", "O54", "O55", "O56")
@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")  # Dagster's own evaluate_automation_conditions
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_no_fresh_partition_is_ever_requested_and_no_stale_one_is_left():
    run_state_machine_as_test(
        PartitionsToTheEnd, settings=settings(max_examples=6, stateful_step_count=10, deadline=None)
    )

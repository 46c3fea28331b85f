"""Automation through random histories, compared with an oracle that knows what predictions were made from."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
from automation_world import TICK, World
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from sparktorch_assets.orchestration.automation.staleness import WAITS

VERSIONS = st.sampled_from("123")
OUTCOMES = st.sampled_from(["ok", "ok", "ok", "fail", "cancel"])
MOSTLY = st.sampled_from([True, True, True, True, False])
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), VERSIONS, MOSTLY),
        st.tuples(st.just("train"), VERSIONS),
        st.tuples(st.just("deploy"), VERSIONS),
        st.tuples(st.just("wipe")),
    ),
    max_size=3,
)
"""What can happen while a run of P or of E is in progress; `read` is a run of E."""


class Automation(RuleBasedStateMachine):
    """`data`, `model` and `code` are what is there, `made_from` what P's last successful run found."""

    def __init__(self) -> None:
        super().__init__()
        self.context = dg.DagsterInstance.ephemeral()
        self.world = World(self.context.__enter__())
        self.data: str | None = None
        self.model: str | None = None
        self.code = "1"
        self.made_from: Any = None
        self.passed = True
        self.running: list[str] = []
        self.tried: list[dt.datetime] = []
        """When automation asked for what is there now, as long as every tick found just that, and P stale."""
        self.tried_for: Any = None

    def teardown(self) -> None:
        self.context.__exit__(None, None, None)

    # The oracle.

    @property
    def there(self) -> Any:
        return (self.data, self.model, self.code)

    @property
    def stale(self) -> bool:
        return None not in self.there and self.made_from != self.there

    @property
    def held_back(self) -> bool:
        return bool(self.running) or not self.passed

    # What can happen.

    @initialize(checked=st.booleans(), data=MOSTLY, model=MOSTLY, predicted=MOSTLY)
    def begin(self, checked: bool, data: bool, model: bool, predicted: bool) -> None:
        self.world.checked = checked
        if data:
            self.read("1", passes=True, outcome="ok", events=[])
        if model:
            self.train("1")
        if predicted and data and model:
            self.predict("ok", [])

    @rule(version=VERSIONS, passes=MOSTLY, outcome=OUTCOMES, events=EVENTS)
    def read(self, version: str, passes: bool, outcome: str, events: list[Any]) -> None:
        self._during("E", lambda act: self.world.read(version, passes=passes, outcome=outcome, meanwhile=act), events)
        # A run that ends before the check has spoken leaves nothing that passed.
        self.passed = not self.world.checked or (outcome == "ok" and passes)
        if outcome == "ok":
            self.data = version

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
        self.made_from = None

    @rule(outcome=OUTCOMES, events=EVENTS)
    def predict(self, outcome: str, events: list[Any]) -> None:
        """Somebody's or a schedule's run, or the one that automation asked for."""
        found = self.there
        self._during("P", lambda act: self.world.predict(outcome, act), events)
        if outcome == "ok":
            self.made_from = found

    @rule(later=st.sampled_from([TICK, *WAITS[1:]]), outcome=OUTCOMES, events=EVENTS)
    def tick(self, later: dt.timedelta, outcome: str, events: list[Any]) -> None:
        self.evaluate(later, outcome, events)

    def evaluate(self, later: dt.timedelta, outcome: str = "ok", events: list[Any] | None = None) -> bool:
        if self.tried_for != self.there or not self.stale:
            self.tried, self.tried_for = [], self.there
        requested = self.world.tick(later)
        if requested:
            assert self.stale, f"{self.made_from} was made from what is there"
            assert not self.held_back, f"in progress: {self.running}; checks passed: {self.passed}"
            assert len(self.tried) < len(WAITS), "once too often"
            if self.tried:
                assert self.world.now - self.tried[-1] >= WAITS[len(self.tried)], "sooner than it may be"
            self.tried.append(self.world.now)
            self.predict(outcome, events or [])
        return requested

    def _during(self, asset: str, run: Callable[[Callable[[], None]], None], events: list[Any]) -> None:
        def act() -> None:
            assert not self.evaluate(TICK), f"{self.running} in progress"
            for name, *given in events:
                self._happens(name, *given)
                assert not self.evaluate(WAITS[-1]), f"{self.running} in progress"

        self.running.append(asset)
        run(act)
        self.running.remove(asset)

    def _happens(self, name: str, *given: Any) -> None:
        if name == "read":
            if "E" not in self.running:
                self.read(*given, outcome="ok", events=[])
        elif name == "wipe" and "P" in self.running:
            return  # Dagster then forgets the run as well: a test of its own in test_refresh_automation.py
        else:
            getattr(self, name)(*given)

    def quiet(self, outcome: str) -> None:
        """After enough ticks in which nothing else happens, nothing is stale but what is held back or was tried."""
        for _ in range(len(WAITS) + 1):
            self.evaluate(WAITS[-1], outcome)
        if self.stale and not self.held_back:
            assert len(self.tried) == len(WAITS), f"{self.made_from} is left, {self.there} is there"


class AutomationToTheEnd(Automation):
    """With a quiet time at the end of every history, in which P's runs fail, and another in which they do not."""

    def teardown(self) -> None:
        try:
            self.quiet("fail")
            self.read("new", passes=True, outcome="ok", events=[])
            self.quiet("ok")
            assert not self.stale or self.model is None
        finally:
            super().teardown()


@pytest.mark.slow
@pytest.mark.promise("O8", "O9", "O10", "O11", "O12", "O13")
@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")  # Dagster's own evaluate_automation_conditions
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_nothing_fresh_is_ever_requested_and_nothing_stale_is_left():
    run_state_machine_as_test(
        AutomationToTheEnd, settings=settings(max_examples=6, stateful_step_count=10, deadline=None)
    )

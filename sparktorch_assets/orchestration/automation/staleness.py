"""Whether an asset, or each of its partitions, was computed from the current code and upstream data.

With each materialization it is recorded from which versions of code and upstream data it was made: by Dagster, or by
`record_made_from` where there are partitions. Comparing these with the current ones gives the right answer whatever
happened in between: during a run, between two ticks, or before the first. Conditions that wait for events since the last
tick miss some of them.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg
from dagster._core.asset_graph_view.entity_subset import EntitySubset

from sparktorch_assets.orchestration.automation.partition_events import last_materializations, said_by
from sparktorch_assets.orchestration.automation.partition_versions import versions_of
from sparktorch_assets.orchestration.automation.recorded_tags import differ_from_tags

WAITS = (timedelta(0), timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=3))
"""How long to wait before each attempt, counted from the previous one. After the last, no more are made."""

_SHORT_DIGEST = 12


@dataclass(frozen=True)
class Stale(dg.AutomationCondition[dg.AssetKey]):
    """True for what was never materialized, or was last made from versions other than the current ones.

    It is false while an upstream asset, or an upstream partition that is needed, has never been materialized: there is
    nothing to compute from.
    """

    @property
    def name(self) -> str:
        """The name in Dagster's UI."""
        return "stale"

    @property
    def description(self) -> str:
        """The description in Dagster's UI."""
        return "Made from versions of code or upstream data other than the current ones"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        """Compare the recorded versions with the current ones."""
        states = _states(context, _parts(context.candidate_subset))
        forgetful = sum(state.unrecorded for state in states.values())
        if forgetful:
            context.log.warning(
                "%s: %d partitions do not say what they were made from, and count as stale; call record_made_from(context) "
                "first in the asset's function",
                context.key.to_user_string(),
                forgetful,
            )
        return dg.AutomationResult(context, _subset(context, {part for part in states if states[part].stale}))


@dataclass(frozen=True)
class AttemptDue(dg.AutomationCondition[dg.AssetKey]):
    """True at once after a change, then after each of WAITS, as long as it stays stale for the same reason."""

    @property
    def name(self) -> str:
        """The name in Dagster's UI."""
        return "attempt_due"

    @property
    def description(self) -> str:
        """The description in Dagster's UI."""
        return f"Requested fewer than {len(WAITS)} times for these versions, and not just now"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        """Count the requests in the cursor. This runs at every tick, even while another condition is false.

        The cursor holds what is stale and due, or was requested and is still stale: nothing, while all is well.
        """
        attempts = _attempts_of(context.cursor)
        requested = context.get_previous_requested_subset(context.root_context.key)
        if requested is not None and context.previous_evaluation_time is not None:
            for part in _parts(requested) & attempts.keys():
                before = attempts[part]
                attempts[part] = _Attempts(before.state, before.made + 1, context.previous_evaluation_time.timestamp())
        candidates = _parts(context.candidate_subset)
        there = _parts(context.asset_graph_view.get_full_subset(key=context.key)) if attempts else set()
        states = _states(context, candidates | attempts.keys() & there)
        present = {
            part: attempts[part]
            if part in attempts and attempts[part].state == state.digest
            else _Attempts(state.digest)
            for part, state in states.items()
            if state.stale
        }
        due = {part for part in candidates & present.keys() if present[part].due(context.evaluation_time)}
        return dg.AutomationResult(context, _subset(context, due), cursor=_as_cursor(present))


@dataclass(frozen=True, slots=True)
class _Attempts:
    """How often a refresh was requested for one state of code and upstream data, and when it last was."""

    state: str
    made: int = 0
    last: float = 0.0
    """Seconds since the epoch."""

    def due(self, now: datetime) -> bool:
        if self.made >= len(WAITS):
            return False
        return self.made == 0 or now.timestamp() >= self.last + WAITS[self.made].total_seconds()


def _attempts_of(cursor: str | None) -> dict[str | None, _Attempts]:
    groups = json.loads(cursor) if cursor else []
    return {
        part or None: _Attempts(state, group["made"], group["last"])
        for group in groups
        for part, state in group["states"].items()
    }


def _as_cursor(attempts: Mapping[str | None, _Attempts]) -> str:
    """What was requested together is one group, so that thousands of partitions need little more than their names."""
    groups: defaultdict[tuple[int, float], dict[str, str]] = defaultdict(dict)
    for part, attempt in attempts.items():
        groups[attempt.made, attempt.last][part or ""] = attempt.state
    return json.dumps([{"made": made, "last": last, "states": states} for (made, last), states in groups.items()])


@dataclass(frozen=True, slots=True)
class _State:
    """Of an asset without partitions, or of one partition."""

    digest: str
    """Of the versions from which it would be made now."""
    stale: bool
    unrecorded: bool = False
    """Whether it is a partition that was made, and does not say from what."""


def _parts(subset: EntitySubset[dg.AssetKey]) -> set[str | None]:
    """The partitions in the subset; `None` stands for the whole of an asset without partitions."""
    if subset.partitions_def is None:
        return set() if subset.is_empty else {None}
    return set(subset.expensively_compute_partition_keys())


def _subset(context: dg.AutomationContext[dg.AssetKey], parts: Iterable[str | None]) -> EntitySubset[dg.AssetKey]:
    if context.partitions_def is None:
        return context.candidate_subset if None in set(parts) else context.get_empty_subset()
    return context.asset_graph_view.get_subset_from_partition_keys(
        context.key, context.partitions_def, {part for part in parts if part is not None}
    )


def _states(context: dg.AutomationContext[dg.AssetKey], parts: set[str | None]) -> dict[str | None, _State]:
    # Read afresh, not from the tick's cache, which may be older than the answer that no run is in progress: a run that
    # ended in between would look as if it had changed nothing.
    if not parts:
        return {}
    graph, instance, key = context.asset_graph, context.asset_graph_view.instance, context.key
    present = versions_of(instance, graph, key, parts)
    found = {}
    if context.partitions_def is None:
        record = next(iter(instance.get_asset_records([key])), None)
        made = record.asset_entry.last_materialization_record if record else None
        recorded = said_by(made).made_from if made else None
        for part, versions in present.items():
            changed = differ_from_tags(instance, graph, key, made) if recorded is None else recorded != versions.digest
            found[part] = _State(versions.digest[:_SHORT_DIGEST], changed and not versions.missing)
        return found
    events = last_materializations(instance, key, [part for part in parts if part is not None])
    for part, versions in present.items():
        event = events.get(part or "")
        changed = event is None or event.made_from != versions.digest
        unrecorded = event is not None and event.made_from is None
        found[part] = _State(versions.digest[:_SHORT_DIGEST], changed and not versions.missing, unrecorded)
    return found

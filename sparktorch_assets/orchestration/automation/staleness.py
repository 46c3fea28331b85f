"""Whether an asset was computed from the current code and upstream data.

With each materialization, Dagster records the code version and the data versions of the upstream assets that it was
made from. Comparing these with the current ones gives the right answer whatever happened in between: during a run,
between two ticks, or before the first. Conditions that wait for events since the last tick miss some of them.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import dagster as dg

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.digest import digest_of

WAITS = (timedelta(0), timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=3))
"""How long to wait before each attempt, counted from the previous one. After the last, no more are made."""

_CODE = "dagster/code_version"
_VERSION = "dagster/data_version"
_INPUT_VERSION = "dagster/input_data_version/"
_INPUT_EVENT = "dagster/input_event_pointer/"
_NEVER_OBSERVED = "INITIAL"  # what Dagster records for an external asset that it knows nothing about


@dataclass(frozen=True)
class Stale(dg.AutomationCondition[dg.AssetKey]):
    """True for an asset that was never materialized, or was last made from versions other than the current ones.

    It is false while an upstream asset has never been materialized: there is nothing to compute from.
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
        """Compare the recorded versions with the current ones.

        Raises:
            TaskError: the asset has partitions, each of which would need a record of its own.
        """
        stale = bool(_Versions.read(context).differ)
        return dg.AutomationResult(context, context.candidate_subset if stale else context.get_empty_subset())


@dataclass(frozen=True)
class AttemptDue(dg.AutomationCondition[dg.AssetKey]):
    """True at once after a change, then after each of WAITS, as long as the asset stays stale for the same reason."""

    @property
    def name(self) -> str:
        """The name in Dagster's UI."""
        return "attempt_due"

    @property
    def description(self) -> str:
        """The description in Dagster's UI."""
        return f"Requested fewer than {len(WAITS)} times for these versions, and not just now"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        """Count the requests in the cursor. This runs at every tick, even while another condition is false."""
        attempts = _Attempts(**json.loads(context.cursor)) if context.cursor else _Attempts()
        requested = context.get_previous_requested_subset(context.root_context.key)
        if requested is not None and not requested.is_empty and context.previous_evaluation_time is not None:
            attempts = _Attempts(attempts.state, attempts.made + 1, context.previous_evaluation_time.timestamp())
        versions = _Versions.read(context)
        if attempts.state != versions.state or not versions.differ:
            attempts = _Attempts(versions.state)
        due = attempts.due(context.evaluation_time)
        return dg.AutomationResult(
            context,
            context.candidate_subset if due else context.get_empty_subset(),
            cursor=json.dumps(asdict(attempts)),
        )


@dataclass(frozen=True, slots=True)
class _Attempts:
    """How often a refresh was requested for one state of code and upstream data, and when it last was."""

    state: str = ""
    made: int = 0
    last: float = 0.0
    """Seconds since the epoch."""

    def due(self, now: datetime) -> bool:
        if self.made >= len(WAITS):
            return False
        return self.made == 0 or now.timestamp() >= self.last + WAITS[self.made].total_seconds()


@dataclass(frozen=True, slots=True)
class _Versions:
    """The tags of an asset's last materialization, and those that a materialization would get now."""

    recorded: Mapping[str, str] | None
    """`None` if it was never materialized."""
    present: Mapping[str, str] | None
    """`None` if an upstream asset was never materialized."""

    @property
    def state(self) -> str:
        return digest_of(sorted((self.present or {}).items()))

    @property
    def differ(self) -> bool:
        if self.present is None:
            return False
        if self.recorded is None:
            return True
        named = {tag.removeprefix(_INPUT_VERSION) for tag in self.recorded if tag.startswith(_INPUT_VERSION)}
        there = {tag.removeprefix(_INPUT_VERSION).removeprefix(_INPUT_EVENT) for tag in self.present}
        return named - there != set() or any(self.recorded.get(tag) != value for tag, value in self.present.items())

    @classmethod
    def read(cls, context: dg.AutomationContext[dg.AssetKey]) -> "_Versions":
        # Read afresh, not from the tick's cache, which may be older than the answer that no run is in progress: a run
        # that ended in between would look as if it had changed nothing.
        graph, instance, key = context.asset_graph, context.asset_graph_view.instance, context.key
        asset = graph.get(key)
        if asset.is_partitioned:
            raise TaskError(
                f"asset {key.to_user_string()}: staleness_condition() compares one record per asset, and this one has "
                f"partitions; give it a condition of Dagster's own, such as AutomationCondition.eager()"
            )
        upstream = sorted(asset.parent_keys - {key})
        records = {record.asset_entry.asset_key: record for record in instance.get_asset_records([key, *upstream])}
        made = records[key].asset_entry.last_materialization if key in records else None
        recorded = made.asset_materialization.tags or {} if made and made.asset_materialization else None
        present = {} if asset.code_version is None else {_CODE: asset.code_version}
        for dep in upstream:
            node = graph.get(dep)
            event = records[dep].asset_entry.last_materialization_record if dep in records else None
            if event is None and node.is_materializable:
                return cls(recorded, None)
            if event is None:
                event = next(iter(instance.fetch_observations(dep, limit=1).records), None)
            tag, value = _tag_of(dep, event, partitioned=node.is_partitioned)
            present[tag] = value
        return cls(recorded, present)


def _tag_of(dep: dg.AssetKey, event: dg.EventLogRecord | None, *, partitioned: bool) -> tuple[str, str]:
    """The tag with which Dagster would record an upstream asset that has this last event."""
    name = dep.to_user_string()
    if event is None:
        return _INPUT_VERSION + name, _NEVER_OBSERVED
    found = event.asset_materialization or event.asset_observation
    version = found.tags.get(_VERSION) if found and found.tags else None
    # For an upstream asset with partitions, Dagster records a hash, or the version of the one that was made last.
    if version is None or partitioned:
        return _INPUT_EVENT + name, str(event.storage_id)
    return _INPUT_VERSION + name, version

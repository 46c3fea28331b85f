"""What Dagster itself records of an asset without partitions: which versions it was made from."""

from typing import Any

import dagster as dg

from sparktorch_assets.orchestration.automation.partition_versions import CODE, NEVER

_VERSION = "dagster/data_version"
_INPUT_VERSION = "dagster/input_data_version/"
_INPUT_EVENT = "dagster/input_event_pointer/"


def differ_from_tags(
    instance: dg.DagsterInstance, asset_graph: Any, key: dg.AssetKey, made: dg.EventLogRecord | None
) -> bool:
    """Whether a materialization would now get tags other than those of the last one, `made`."""
    if made is None:
        return True
    recorded = (made.asset_materialization.tags if made.asset_materialization else None) or {}
    node = asset_graph.get(key)
    present = {} if node.code_version is None else {CODE: node.code_version}
    upstream = sorted(node.parent_keys - {key})
    records = {record.asset_entry.asset_key: record for record in instance.get_asset_records(upstream)}
    for dep in upstream:
        event = records[dep].asset_entry.last_materialization_record if dep in records else None
        if event is None:
            event = next(iter(instance.fetch_observations(dep, limit=1).records), None)
        tag, value = _tag_of(dep, event, partitioned=asset_graph.get(dep).is_partitioned)
        present[tag] = value
    named = {tag.removeprefix(_INPUT_VERSION) for tag in recorded if tag.startswith(_INPUT_VERSION)}
    there = {tag.removeprefix(_INPUT_VERSION).removeprefix(_INPUT_EVENT) for tag in present}
    return named - there != set() or any(recorded.get(tag) != value for tag, value in present.items())


def _tag_of(dep: dg.AssetKey, event: dg.EventLogRecord | None, *, partitioned: bool) -> tuple[str, str]:
    """The tag with which Dagster would record an upstream asset that has this last event."""
    name = dep.to_user_string()
    if event is None:
        return _INPUT_VERSION + name, NEVER
    found = event.asset_materialization or event.asset_observation
    version = found.tags.get(_VERSION) if found and found.tags else None
    # For an upstream asset with partitions, Dagster records a hash, or the version of the one that was made last.
    if version is None or partitioned:
        return _INPUT_EVENT + name, str(event.storage_id)
    return _INPUT_VERSION + name, version

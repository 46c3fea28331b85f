"""Which versions of code and upstream data an asset's partitions would be made from now.

What a run records with `record_made_from` before it reads anything is compared with this afterwards. Dagster's own
record does not suffice where there are partitions: a run over several gives all of them one data version.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from sparktorch_assets.orchestration.automation.partition_events import (
    DATA_VERSION,
    MADE_FROM,
    PartitionEvent,
    last_materializations,
    last_observations,
    said_by,
)
from sparktorch_assets.tasks.digest import digest_of

CODE = "dagster/code_version"
NEVER = "INITIAL"
"""The version of an upstream asset of which Dagster knows nothing."""


@dataclass(frozen=True, slots=True)
class Versions:
    """What one partition would be made from now."""

    by_name: Mapping[str, str]
    """`dagster/code_version`, if the asset has one, and the key of each upstream asset -> its version."""
    missing: tuple[str, ...] = ()
    """Upstream assets that Dagster makes, and of which a part that is needed was never made."""

    @property
    def digest(self) -> str:
        """Equal to that of the recorded versions if and only if nothing has changed."""
        return digest_of(self.by_name)


def present_versions(
    instance: dg.DagsterInstance, asset_graph: Any, key: dg.AssetKey, partition_keys: Collection[str | None]
) -> dict[str | None, dict[str, str]]:
    """What each of the partitions would be made from now: partition -> name -> version.

    Args:
        asset_graph: of the code location, or of the job that runs: `context.job_def.asset_layer.asset_graph`.
        partition_keys: partitions of the asset, or `[None]` if it has none.
    """
    found = versions_of(instance, asset_graph, key, partition_keys)
    return {partition: dict(versions.by_name) for partition, versions in found.items()}


def record_made_from(
    context: dg.AssetExecutionContext,
    asset_key: dg.AssetKey | None = None,
    *,
    data_versions: Mapping[str, str] | None = None,
) -> None:
    """Record which versions of code and upstream data the run's partitions are made from.

    Call it first in the function of an asset that has partitions and `staleness_condition()`, before anything upstream
    is read: what changes later then counts as a change.

    Args:
        context: that of the function.
        asset_key: which asset, if the function makes several.
        data_versions: partition -> the data version that assets downstream compare. Without one, each materialization
            counts as new, unless the function returns a `data_version` for all of its partitions.
    """
    key = asset_key or context.asset_key
    graph = context.job_def.asset_layer.asset_graph
    partitions: Sequence[str | None] = context.partition_keys if graph.get(key).is_partitioned else [None]
    for partition, versions in present_versions(context.instance, graph, key, partitions).items():
        metadata: dict[str, Any] = {MADE_FROM: dg.MetadataValue.json(versions)}
        if partition is not None and data_versions is not None and partition in data_versions:
            metadata[DATA_VERSION] = data_versions[partition]
        context.add_asset_metadata(metadata, asset_key=key, partition_key=partition)


def versions_of(
    instance: dg.DagsterInstance, asset_graph: Any, key: dg.AssetKey, partition_keys: Collection[str | None]
) -> dict[str | None, Versions]:
    """As `present_versions`, with the upstream assets that are missing."""
    node = asset_graph.get(key)
    code = {} if node.code_version is None else {CODE: node.code_version}
    by_name: dict[str | None, dict[str, str]] = {partition: dict(code) for partition in partition_keys}
    missing: dict[str | None, list[str]] = {partition: [] for partition in partition_keys}
    parents = sorted(node.parent_keys - {key})
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        whole = _whole(instance, [parent for parent in parents if not asset_graph.get(parent).is_partitioned])
        for parent in parents:
            name, made_here = parent.to_user_string(), asset_graph.get(parent).is_materializable
            if parent in whole:
                seen = dict.fromkeys(partition_keys, whole[parent])
            else:
                seen = _upstream_partitions(instance, asset_graph, key, parent, partition_keys)
            for partition, version in seen.items():
                by_name[partition][name] = NEVER if version is None else version
                if version is None and made_here:
                    missing[partition].append(name)
    return {partition: Versions(by_name[partition], tuple(missing[partition])) for partition in partition_keys}


def _whole(instance: dg.DagsterInstance, assets: Sequence[dg.AssetKey]) -> dict[dg.AssetKey, str | None]:
    """Assets without partitions -> their versions, from the last materialization or, without any, observation."""
    records = {record.asset_entry.asset_key: record for record in instance.get_asset_records(assets)} if assets else {}
    found: dict[dg.AssetKey, str | None] = {}
    for asset in assets:
        event = records[asset].asset_entry.last_materialization_record if asset in records else None
        if event is None:
            event = next(iter(instance.fetch_observations(asset, limit=1).records), None)
        found[asset] = None if event is None else said_by(event).version
    return found


def _upstream_partitions(
    instance: dg.DagsterInstance,
    asset_graph: Any,
    key: dg.AssetKey,
    parent: dg.AssetKey,
    partition_keys: Collection[str | None],
) -> dict[str | None, str | None]:
    """Partition -> the version of what it depends on in an asset with partitions; `None` if a part of it is missing.

    What depends on all partitions of an asset is made from those that there are.
    """
    mapping = asset_graph.get_partition_mapping(key, parent)
    there = asset_graph.get(parent).partitions_def
    if isinstance(mapping, dg.AllPartitionMapping):
        events = _events(instance, parent, None)
        version = _version_of_several(events, sorted(events.keys() & set(there.get_partition_keys())))
        return dict.fromkeys(partition_keys, version if events else None)
    if _is_one_to_one(mapping) and there == asset_graph.get(key).partitions_def:
        events = _events(instance, parent, [partition for partition in partition_keys if partition is not None])
        return {partition: events[partition].version if partition in events else None for partition in partition_keys}
    mapped: dict[str | None, Sequence[str] | None] = {}
    for partition in partition_keys:
        upstream = asset_graph.get_parent_partition_keys_for_child(partition, parent, key)
        lacking = not upstream.required_but_nonexistent_subset.is_empty
        mapped[partition] = None if lacking else sorted(upstream.partitions_subset.get_partition_keys())
    events = _events(instance, parent, {name for names in mapped.values() for name in names or ()})
    return {
        partition: None if names is None or set(names) - events.keys() else _version_of_several(events, names)
        for partition, names in mapped.items()
    }


def _is_one_to_one(mapping: dg.PartitionMapping) -> bool:
    if isinstance(mapping, dg.TimeWindowPartitionMapping):
        return mapping.start_offset == mapping.end_offset == 0
    return isinstance(mapping, dg.IdentityPartitionMapping)


def _events(
    instance: dg.DagsterInstance, asset: dg.AssetKey, partitions: Collection[str] | None
) -> dict[str, PartitionEvent]:
    """Partition -> its last materialization or, without any, observation."""
    made = last_materializations(instance, asset, partitions)
    if partitions is not None and made.keys() >= set(partitions):
        return made
    return {**last_observations(instance, asset, partitions), **made}


def _version_of_several(events: Mapping[str, PartitionEvent], names: Sequence[str]) -> str:
    if len(names) == 1:
        return events[names[0]].version
    return digest_of([(name, events[name].version) for name in names])[:32]

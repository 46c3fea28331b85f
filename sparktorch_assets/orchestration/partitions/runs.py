"""Which runs refresh a number of assets over all their partitions.

One run takes partitions of one definition, since it names them by their keys, and any number of assets without
partitions. Assets that are all divided alike, or not at all, are therefore refreshed in one run.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
"""Dagster's own tags, by which a run names consecutive partitions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedRun:
    """One run: its assets, and the tags that name its partitions."""

    assets: tuple[dg.AssetKey, ...]
    """In the order of the graph."""
    tags: Mapping[str, str] = field(default_factory=dict)


def planned_runs(
    instance: dg.DagsterInstance, asset_graph: Any, keys: Collection[dg.AssetKey], *, one_by_one: bool
) -> Iterator[PlannedRun]:
    """The runs that refresh these assets over all partitions that exist when the run is asked for, each after those that
    it depends on.

    Assets whose partitions do not exist yet are left out.

    Args:
        instance: where dynamic partitions are registered.
        asset_graph: the graph of the code location.
        keys: the assets.
        one_by_one: each run ends before the next is asked for, so that assets with dynamic partitions go into a later
            run than the input that registers these. Otherwise they go into the same, and new partitions wait for the
            next time.
    """
    for group in _groups(asset_graph, keys, one_by_one=one_by_one):
        if group.definition is None:
            yield PlannedRun(assets=tuple(group.assets))
            continue
        # Asked for as late as this: an earlier run may have registered more.
        there = group.definition.get_partition_keys(dynamic_partitions_store=instance)
        if there:
            yield PlannedRun(assets=tuple(group.assets), tags=range_tags(there))
        elif rest := [key for key in group.assets if not asset_graph.get(key).is_partitioned]:
            yield PlannedRun(assets=tuple(rest))


def range_tags(partitions: Sequence[str]) -> dict[str, str]:
    """The tags of a run over consecutive partitions."""
    return {RANGE_START: partitions[0], RANGE_END: partitions[-1]}


@dataclass(slots=True)
class _Group:
    """Assets of one run."""

    definition: dg.PartitionsDefinition[str] | None
    assets: list[dg.AssetKey]


def _groups(asset_graph: Any, keys: Collection[dg.AssetKey], *, one_by_one: bool) -> list[_Group]:
    """The assets in as few runs as their order allows: each in the first run that is not before one of what it depends
    on, and that has no partitions of another definition."""
    groups: list[_Group] = []
    place_of: dict[dg.AssetKey, int] = {}
    for key in asset_graph.toposorted_asset_keys:
        if key not in keys:
            continue
        node = asset_graph.get(key)
        definition = node.partitions_def
        registered = one_by_one and isinstance(definition, dg.DynamicPartitionsDefinition)
        # What registers partitions ends before they are used: a run's partitions are fixed when it starts.
        place = max(
            (
                place_of[parent] + (registered and asset_graph.get(parent).partitions_def != definition)
                for parent in node.parent_keys
                if parent in place_of
            ),
            default=0,
        )
        while place < len(groups) and not _goes_with(definition, groups[place].definition):
            place += 1
        if place >= len(groups):
            place = len(groups)
            groups.append(_Group(definition, []))
        groups[place].definition = groups[place].definition or definition
        groups[place].assets.append(key)
        place_of[key] = place
    return groups


def _goes_with(one: dg.PartitionsDefinition[str] | None, other: dg.PartitionsDefinition[str] | None) -> bool:
    return one is None or other is None or one == other

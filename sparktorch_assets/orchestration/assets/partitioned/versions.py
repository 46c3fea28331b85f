"""The data versions of a run's partitions together, and the record of what each is made from.

Dagster keeps one data version for all partitions of a run. Each partition's own is among its metadata, next to what it
was made from; `automation/partition_versions.py` compares these.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from sparktorch_assets.orchestration.automation.partition_events import MADE_FROM
from sparktorch_assets.orchestration.automation.partition_versions import present_versions, record_made_from
from sparktorch_assets.tasks.digest import digest_of


def version_of_several(versions: Mapping[str, str]) -> str:
    """The data version of the partitions of a run: of one, its own."""
    if len(versions) == 1:
        return next(iter(versions.values()))
    return digest_of(sorted(versions.items()))[:32]


def made_from_now(
    context: dg.AssetExecutionContext, asset: dg.AssetKey, partitions: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Partition -> the metadata that records what it is made from. To be asked before anything is read: what changes
    later then counts as a change."""
    graph = context.job_def.asset_layer.asset_graph
    found = present_versions(context.instance, graph, asset, partitions)
    return {str(partition): {MADE_FROM: dg.MetadataValue.json(versions)} for partition, versions in found.items()}


def record_divided_input(context: dg.AssetExecutionContext, asset: dg.AssetKey, upstream: dg.AssetKey) -> None:
    """Record what an asset without partitions is made from, if its input has some: Dagster itself records only that one
    of them was materialized."""
    graph = context.job_def.asset_layer.asset_graph
    if graph.has(upstream) and graph.get(upstream).is_partitioned:
        record_made_from(context, asset)

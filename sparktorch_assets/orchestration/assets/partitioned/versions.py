"""The data versions of partitions, which Dagster keeps one of for all partitions of a run.

Each partition's own is among its metadata, next to what it was made from; `automation` compares these.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from sparktorch_assets.tasks.digest import digest_of

DATA_VERSION = "sparktorch/data_version"
"""The metadata of a partition that changes when its rows do."""


def version_of_several(versions: Mapping[str, str]) -> str:
    """The data version of the partitions of a run: of one, its own."""
    if len(versions) == 1:
        return next(iter(versions.values()))
    return digest_of(sorted(versions.items()))[:32]


def versions_now(context: dg.AssetExecutionContext, asset: dg.AssetKey, partitions: Sequence[str]) -> Mapping[str, Any]:
    """Partition -> the metadata that records what it would be made from now. To be asked before anything is read."""
    return {}

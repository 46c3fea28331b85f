"""What one task's schedule refreshes: the task and what it is made from, up to the predictions of other tasks."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import dagster as dg

from sparktorch_assets.orchestration.keys import PREDICTIONS_PREFIX, REFRESH_TAG


@dataclass(frozen=True, slots=True)
class UpToOtherTasks(dg.AssetSelection):
    """An asset and all assets upstream of it, in any group, except other tasks' predictions and what only these are
    made from."""

    asset: dg.AssetKey

    def resolve_inner(self, asset_graph: Any, allow_missing: bool) -> AbstractSet[dg.AssetKey]:  # noqa: ARG002  (Dagster's signature)
        """Walk upstream, and return the keys."""
        found: set[dg.AssetKey] = set()
        waiting = [self.asset]
        while waiting:
            key = waiting.pop()
            node = asset_graph.get(key)
            of_another = key != self.asset and key.has_prefix([PREDICTIONS_PREFIX]) and REFRESH_TAG in node.tags
            if key in found or of_another or not node.is_materializable:
                continue
            found.add(key)
            waiting += node.parent_keys
        return found

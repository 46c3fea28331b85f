"""Remembers which declaration each asset was built from, for checks that need all declarations of a code location."""

from weakref import WeakKeyDictionary

import dagster as dg

from sparktorch_assets.tasks import InputTable, MlTask

Declaration = MlTask | InputTable

# By the asset's op, which stays the same object when Dagster copies the asset to add resources or tags. An asset's own
# metadata and tags can only hold what is stored and shown.
_declared: WeakKeyDictionary[dg.OpDefinition, Declaration] = WeakKeyDictionary()


def remember(asset: dg.AssetsDefinition, declaration: Declaration) -> dg.AssetsDefinition:
    """Remember what the asset was built from, and return the asset."""
    _declared[asset.op] = declaration
    return asset


def declaration_of(asset: dg.AssetsDefinition) -> Declaration | None:
    """The task of a prediction asset, or the table of an input asset; `None` for any other asset."""
    return _declared.get(asset.op) if isinstance(asset.node_def, dg.OpDefinition) else None

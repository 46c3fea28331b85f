"""The names of things in Dagster's graph: asset keys, groups, tags and pools, in one place."""

import dagster as dg

from sparktorch_assets.tasks import MlTask

INPUTS_GROUP = "inputs"
MODELS_GROUP = "models"
PREDICTIONS_GROUP = "predictions"
PREDICTIONS_PREFIX = "predictions"
"""The first part of every prediction asset's key, whatever group the asset is in."""

REFRESH_TAG = "sparktorch/refresh"
"""On every prediction asset: `daily`, or `own` where the task names its own cron."""
WATCH_TAG = "sparktorch/watch"
"""`yes` on every input and model asset: what looks at files, and so notices new ones."""

PREDICTIONS_POOL = "predictions"
"""The pool of all prediction assets: a limit on it says how many of them may compute at once, as on one GPU."""


def input_pool(table: str) -> str:
    """The pool of one input's asset: with the limit 1, a second run waits instead of reading the same files."""
    return f"input_{table}"


def input_key(table: str) -> dg.AssetKey:
    """The asset of an input: `flights`, or another task's `predictions/language`."""
    return dg.AssetKey(table.split("/"))


def model_key(task: MlTask) -> dg.AssetKey:
    """The asset that stands for the task's model."""
    return dg.AssetKey(["models", task.name])


def prediction_key(task: MlTask) -> dg.AssetKey:
    """The asset that stands for the task's prediction table."""
    return dg.AssetKey([PREDICTIONS_PREFIX, task.name])

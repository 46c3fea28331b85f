"""Names in Dagster's graph: asset keys, groups, tags and pools."""

import dagster as dg

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks import MlTask

INPUTS_GROUP = "inputs"
MODELS_GROUP = "models"
PREDICTIONS_GROUP = "predictions"
COMPARISONS_GROUP = "comparisons"
PREDICTIONS_PREFIX = "predictions"
"""The first part of every prediction asset's key, whatever group the asset is in."""

REFRESH_TAG = "sparktorch/refresh"
"""Tag of every prediction asset: `daily`, or `own` if the task names its own cron."""
WATCH_TAG = "sparktorch/watch"
"""Tag of every input and model asset, always `yes`: these look at files, and so notice new ones."""

PREDICTIONS_POOL = "predictions"
"""The pool of all prediction assets. Its limit, if set, is how many of them may compute at once, for instance on one
GPU."""


def input_pool(table: str) -> str:
    """The pool of one input's asset. With a limit of 1, a second run waits instead of reading the same files."""
    return f"input_{table}"


def input_key(table: str) -> dg.AssetKey:
    """The asset key of an input: `flights`, or another task's `predictions/language`."""
    return dg.AssetKey(table.split("/"))


def source_key(task: MlTask) -> dg.AssetKey:
    """The asset key of the task's input.

    Raises:
        TaskError: the task names no input.
    """
    if task.input is None:
        raise TaskError(
            f"MlTask {task.name!r} names no input, which its asset reads; set input='flights', an asset's key"
        )
    return input_key(task.input)


def model_key(task: MlTask) -> dg.AssetKey:
    """The asset key of the task's model."""
    return dg.AssetKey(["models", task.name])


def prediction_key(task: MlTask) -> dg.AssetKey:
    """The asset key of the task's prediction table."""
    return named_prediction_key(task.name)


def named_prediction_key(task: str) -> dg.AssetKey:
    """The asset key of the prediction table of the task with that name."""
    return dg.AssetKey([PREDICTIONS_PREFIX, task])


def comparison_key(challenger: MlTask) -> dg.AssetKey:
    """The asset key of the comparison of a challenger with its champion."""
    return dg.AssetKey([COMPARISONS_GROUP, challenger.name])


def op_name(task: MlTask) -> str:
    """The name of the op behind that asset, under which a run's config has its settings."""
    return f"predict_{task.name}"

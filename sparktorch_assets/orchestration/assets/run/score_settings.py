"""What all ways of scoring are told by a task's asset, and the version of its code."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from sparktorch_assets.orchestration.assets.run.run_settings import RunSettings
from sparktorch_assets.orchestration.keys import prediction_key
from sparktorch_assets.tasks import MlTask
from sparktorch_assets.tasks.digest import task_digest

if TYPE_CHECKING:
    from sparktorch_assets.orchestration.resources import LakeResource, ModelLoaderResource

_SHORT_DIGEST = 12


def score_settings(
    context: dg.AssetExecutionContext,
    config: RunSettings,
    task: MlTask,
    model_loader: "ModelLoaderResource",
    lake: "LakeResource",
) -> dict[str, Any]:
    """The keyword arguments that `score_table`, `score_partitions` and `score_dataframe` have in common."""
    return {
        "output_table": lake.table_uri(prediction_key(task)),
        "model_loader": model_loader.build([task]),
        "slots": model_loader.slot_policy(),
        "batch_size": config.batch_size or (None if task.batch.pinned else model_loader.batch_size),
        "run_id": context.run.run_id,
        "publish_despite": tuple(config.publish_despite),
    }


def code_version(task: MlTask) -> str:
    """The code version of the task's prediction asset.

    Raises:
        TaskError: a hook's module cannot be found.
    """
    return task_digest(task)[:_SHORT_DIGEST]

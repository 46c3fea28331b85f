"""From declarations to assets: the one place where YAML components and Python code meet."""

from collections.abc import Iterable

import dagster as dg

from sparktorch_assets.errors import TaskError
from sparktorch_assets.orchestration.input_asset import build_input_asset
from sparktorch_assets.orchestration.model_asset import build_model_asset
from sparktorch_assets.orchestration.prediction_asset import build_prediction_asset
from sparktorch_assets.tasks import MlTask

__all__ = ["build_input_asset", "build_prediction_assets"]


def build_prediction_assets(tasks: Iterable[MlTask]) -> list[dg.AssetsDefinition]:
    """Two assets a task: `models/<name>`, and `predictions/<name>`, which depends on it and on the task's input.

    They need the resources of `runtime_definitions`, or others under the same keys: `spark` (any dagster-pyspark
    resource), `model_loader`, `lake`.

    Raises:
        TaskError: two tasks have the same name, or a hook's module cannot be found.
    """
    assets: list[dg.AssetsDefinition] = []
    seen: set[str] = set()
    for task in tasks:
        if task.name in seen:
            raise TaskError(f"two tasks are named {task.name!r}; each becomes predictions/{task.name}: rename one")
        seen.add(task.name)
        assets += [build_model_asset(task), build_prediction_asset(task)]
    return assets

"""From declarations to assets: the one place where YAML components and Python code meet."""

from collections.abc import Collection, Iterable
from pathlib import Path

import dagster as dg

from sparktorch_assets.errors import ModelError, TaskError
from sparktorch_assets.orchestration.assets.comparison import build_comparison_asset
from sparktorch_assets.orchestration.assets.input import build_input_asset
from sparktorch_assets.orchestration.assets.model import build_model_asset
from sparktorch_assets.orchestration.assets.prediction import build_prediction_asset
from sparktorch_assets.orchestration.automation.schedules import own_schedules
from sparktorch_assets.stores.remote_root import absolute_root
from sparktorch_assets.tasks import MlTask
from sparktorch_assets.tasks.rivals import champion_of, check_rivals, rivals_of, settle_promotion

__all__ = ["build_input_asset", "build_prediction_assets", "build_prediction_definitions"]


def build_prediction_definitions(
    tasks: Iterable[MlTask], models_root: str | Path | None = None, *, others: Iterable[MlTask] = ()
) -> dg.Definitions:
    """The tasks' assets and checks, and a schedule for each task that names a `cron`, in that task's time zone.

    Merge the result with `runtime_definitions`, which provides the resources, the daily schedule of the other tasks and
    the sensor that evaluates the assets' automation condition.

    Args:
        tasks: the tasks, whose names must differ.
        models_root: the folder (or URI) that the paths of weights are relative to, for tasks that leave labels, output or
            tokenizer to a Hugging Face folder, or to an MLflow model; by default, `data/models` under the project's root, as in
            `ModelLoaderResource`.
        others: tasks whose assets are built elsewhere, and which `challenger_of` or `promoted` of these tasks may name.

    Raises:
        TaskError: two tasks have the same name, a hook's module cannot be found, a task leaves something to a Hugging
            Face folder that is not there or does not say it; or `challenger_of` or `promoted` names an unknown task, or
            one that does not fit.
    """
    given = tuple(tasks)
    known = (*given, *others)
    declared = [_settled(task, known, models_root) for task in given]
    return dg.Definitions(assets=_assets(given, known, models_root), schedules=own_schedules(declared))


def build_prediction_assets(
    tasks: Iterable[MlTask], models_root: str | Path | None = None
) -> list[dg.AssetsDefinition]:
    """Two assets per task: `models/<name>`, and `predictions/<name>`, which depends on it and on the task's input; and
    `comparisons/<name>` for a task with `challenger_of`.

    The daily schedule of `runtime_definitions` refreshes them. A task with a `cron` needs a schedule of its own, which a
    list of assets cannot hold: `build_prediction_definitions` gives both.

    The assets need the resources of `runtime_definitions`, or others under the same keys: `spark` (any dagster-pyspark
    resource), `model_loader`, `lake`.

    Args:
        tasks: the tasks, whose names must differ.
        models_root: as in `build_prediction_definitions`.

    Raises:
        TaskError: two tasks have the same name, a task names a `cron`, a hook's module cannot be found, or a task leaves
            something to a Hugging Face folder that is not there or does not say it.
    """
    given = tuple(tasks)
    for task in given:
        if task.cron:
            raise TaskError(
                f"MlTask {task.name!r}: cron={task.cron!r} needs a schedule, which a list of assets cannot hold, so "
                f"that nothing would refresh it. Call build_prediction_definitions, which gives assets and schedules, "
                f"and merge the result into your Definitions (dg.Definitions.merge)"
            )
    return _assets(given, given, models_root)


def _assets(
    tasks: Iterable[MlTask], known: Collection[MlTask], models_root: str | Path | None
) -> list[dg.AssetsDefinition]:
    """The assets of `tasks`, whose champions and challengers are among the `known` ones, all as they are declared."""
    assets: list[dg.AssetsDefinition] = []
    seen: set[str] = set()
    for declared in tasks:
        if declared.name in seen:
            raise TaskError(
                f"two tasks are named {declared.name!r}; each becomes predictions/{declared.name}: rename one"
            )
        seen.add(declared.name)
        task = _settled(declared, known, models_root)
        assets += [
            build_model_asset(task),
            build_prediction_asset(task, promoted=declared.promoted, rivals=rivals_of(declared, known)),
        ]
        champion = champion_of(declared, known)
        if champion is not None:
            champion = _settled(champion, known, models_root)
            check_rivals(champion, task)
            assets.append(build_comparison_asset(champion, task))
    return assets


def _settled(task: MlTask, known: Iterable[MlTask], models_root: str | Path | None) -> MlTask:
    """The task that runs under the task's name, with what its model's folder says."""
    return _completed(settle_promotion(task, known), models_root)


def _completed(task: MlTask, models_root: str | Path | None) -> MlTask:
    """The task with what its Hugging Face folder or its MLflow model says: an asset's checks and columns are declared
    before any run. A task that declares its output itself asks no server."""
    if not _is_open(task):
        return task
    from sparktorch_assets.orchestration.resources import ModelLoaderResource

    resource = ModelLoaderResource()
    if models_root is not None:
        resource = ModelLoaderResource(models_root=absolute_root(models_root))
    try:
        return resource.build([task]).find_task(task)
    except ModelError as error:
        raise TaskError(
            f"{error}. An asset's columns are declared before any run: if the folder is elsewhere, pass models_root to "
            f"build_prediction_definitions; if it is not there yet, or a server does not always answer, declare output, labels, "
            f"tokenizer and max_tokens"
        ) from None


def _is_open(task: MlTask) -> bool:
    if task.model.format == "mlflow":
        return task.output.labelled and not task.labels
    return task.model.format == "huggingface"

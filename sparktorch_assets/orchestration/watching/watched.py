"""The assets of a code location whose files can be looked at, and how."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg

from sparktorch_assets.orchestration.assets.declared import declaration_of
from sparktorch_assets.orchestration.keys import input_key, model_key
from sparktorch_assets.orchestration.watching.look import look_at_model, look_at_registry, look_at_sources
from sparktorch_assets.orchestration.watching.memory import Seen
from sparktorch_assets.tasks import InputTable, MlTask

if TYPE_CHECKING:
    from sparktorch_assets.orchestration.resources import LakeResource, ModelLoaderResource


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """One input or model asset."""

    asset: dg.AssetKey
    look: Callable[[], Seen]
    server: str = ""
    """The server that is asked, if one is: it may take seconds not to answer."""


def watched_assets(
    repository: dg.RepositoryDefinition, lake: "LakeResource", model_loader: "ModelLoaderResource"
) -> Iterator[Watched]:
    """The input tables of the location, and the models of its tasks.

    Left out are models in a registry if no server is configured, models below a URI, and models without files.
    """
    for asset in repository.assets_defs_by_key.values():
        declared = declaration_of(asset)
        if isinstance(declared, InputTable):
            look = partial(look_at_sources, declared, lake.project_path)
            yield Watched(asset=input_key(declared.name), look=look)
        elif isinstance(declared, MlTask):
            yield from _model(declared, model_loader)


def _model(task: MlTask, model_loader: "ModelLoaderResource") -> Iterator[Watched]:
    key, root = model_key(task), model_loader.models_place
    if task.model.registered:
        if model_loader.tracking_uri or "MLFLOW_TRACKING_URI" in os.environ:
            look = partial(look_at_registry, task, model_loader.tracking_uri)
            yield Watched(asset=key, look=look, server="the MLflow server")
    elif not isinstance(root, str) and task.files:
        yield Watched(asset=key, look=partial(look_at_model, task, root))

"""The components behind `defs.yaml`: one task, one input table.

Importing this module loads neither torch nor pyspark, because `dg` imports every registered component just to list it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import dagster as dg
from dagster.components.component.component import ComponentTypeSpec
from pydantic import BaseModel

from sparktorch_assets.orchestration.assets.factory import build_input_asset, build_prediction_definitions
from sparktorch_assets.orchestration.components.scaffolders import InputTableScaffolder, MlTaskScaffolder
from sparktorch_assets.orchestration.components.yaml_schema import attributes_model, declare
from sparktorch_assets.tasks import InputTable, MlTask

_TaskAttributes = attributes_model(MlTask)
_TableAttributes = attributes_model(InputTable)


@dg.scaffold_with(MlTaskScaffolder)
@dataclass
class MlTaskComponent(dg.Component):
    """One ml_task: a PyTorch model run over a table by Spark, as a prediction asset with checks and a model asset."""

    task: MlTask

    @classmethod
    def get_spec(cls) -> ComponentTypeSpec:
        """The component type's description and tags, as `dg list components` shows them."""
        return ComponentTypeSpec(description=(cls.__doc__ or "").strip(), tags=["pytorch", "pyspark"])

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The pydantic model of `attributes`."""
        return _TaskAttributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """Build the component that a `defs.yaml` declares."""
        assert attributes is not None
        return cls(task=declare(MlTask, attributes, context))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The task's assets and checks, and its schedule if it names a cron."""
        components = context.component_tree.get_all_components(of_type=MlTaskComponent)
        others = [component.task for component in components if component.task.name != self.task.name]
        return build_prediction_definitions([self.task], _models_root(self.task, context), others=others)


def _models_root(task: MlTask, context: dg.ComponentLoadContext) -> str | Path | None:
    """Where the task's folder is looked for: `data/models` under the project's root."""
    if task.model.format not in ("huggingface", "mlflow"):
        return None
    from sparktorch_assets.orchestration.resources import ModelLoaderResource  # imports pyspark

    return ModelLoaderResource(project_root=str(context.project_root)).models_place


@dg.scaffold_with(InputTableScaffolder)
@dataclass
class InputTableComponent(dg.Component):
    """One input table: CSV, JSON or Parquet files that Spark reads into a Delta table with declared types."""

    table: InputTable

    @classmethod
    def get_spec(cls) -> ComponentTypeSpec:
        """The component type's description and tags, as `dg list components` shows them."""
        return ComponentTypeSpec(description=(cls.__doc__ or "").strip(), tags=["pyspark", "delta"])

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The pydantic model of `attributes`."""
        return _TableAttributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """Build the component that a `defs.yaml` declares."""
        assert attributes is not None
        return cls(table=declare(InputTable, attributes, context))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002  (Dagster's signature)
        """The table's asset and its check."""
        return dg.Definitions(assets=[build_input_asset(self.table)])

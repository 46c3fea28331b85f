"""Run PyTorch models over big tables with Spark, and see the result as Dagster assets.

Importing this package imports nothing else: every Spark worker does it. The public names below load on first use.
"""

import importlib
from typing import Any

_HOME = {
    "AuditFailedError": "errors",
    "CommitConflictError": "errors",
    "DeviceError": "errors",
    "DiskFullError": "errors",
    "HookError": "errors",
    "HostError": "errors",
    "InputSchemaError": "errors",
    "ModelError": "errors",
    "PartitionsRefusedError": "errors",
    "RowsRejectedError": "errors",
    "RowsVanishedError": "errors",
    "SparktorchError": "errors",
    "TableError": "errors",
    "TaskError": "errors",
    "TooManyDroppedRowsError": "errors",
    "TooManyFailedRowsError": "errors",
    "UnknownTaskError": "errors",
    "AudioFeature": "tasks",
    "AuditPolicy": "tasks",
    "BatchPolicy": "tasks",
    "CategoricalFeature": "tasks",
    "ChallengerOf": "tasks",
    "ClassificationOutput": "tasks",
    "ColumnsOutput": "tasks",
    "CustomFeature": "tasks",
    "DetectionOutput": "tasks",
    "DynamicPartitions": "tasks",
    "EmbeddingOutput": "tasks",
    "Execution": "tasks",
    "GenerationOutput": "tasks",
    "Hooks": "tasks",
    "ImageFeature": "tasks",
    "MlTask": "tasks",
    "ModelSpec": "tasks",
    "MultilabelOutput": "tasks",
    "NumericFeature": "tasks",
    "RegressionOutput": "tasks",
    "RowFilter": "tasks",
    "SequenceFeature": "tasks",
    "SlotPolicy": "tasks",
    "StaticPartitions": "tasks",
    "TensorFeature": "tasks",
    "TextFeature": "tasks",
    "TimePartitions": "tasks",
    "TokenClassificationOutput": "tasks",
    "promote": "tasks",
    "InputTable": "tasks.input_table",
    "SourceColumn": "tasks.input_table",
    "Statistics": "audit.statistics",
    "TablePartition": "tasks.partitions",
    "set_storage_options": "storage.scopes",
    "describe_model": "stores.model_description",
    "write_if_changed": "lake.derived",
    "data_version": "lake.table",
    "table_version": "lake.table",
    "vacuum": "lake.vacuum",
    "predict_frame": "predict.frame",
    "ModelLoader": "predict.loader",
    "LocalPredictor": "predict.local",
    "predict_map": "predict.partition",
    "BatchModelObject": "predict.protocols",
    "Encoder": "predict.protocols",
    "ModelObject": "predict.protocols",
    "materialize_input": "spark.inputs.materialize",
    "spark_ml_predict": "spark.ml_predict",
    "score_dataframe": "spark.score.dataframe",
    "failed_rows": "spark.score.failures.failed_rows",
    "plan_partitions": "spark.score.partitions",
    "score_partitions": "spark.score.partitions",
    "ScoreReport": "spark.score.report.report",
    "plan_table": "spark.score.table",
    "score_table": "spark.score.table",
    "start_session": "spark.session.start",
    "TaskTransformer": "spark.task_transformer",
    "build_input_asset": "orchestration.assets.factory",
    "build_prediction_assets": "orchestration.assets.factory",
    "build_prediction_definitions": "orchestration.assets.factory",
    "preview_table": "orchestration.assets.text.markdown",
    "column_lineage": "orchestration.assets.page.lineage",
    "lineage_metadata": "orchestration.assets.page.lineage",
    "table_metadata": "orchestration.assets.page.metadata",
    "own_schedules": "orchestration.automation.schedules",
    "staleness_condition": "orchestration.automation.schedules",
    "check_definitions": "orchestration.check_definitions",
    "backfill_policy": "orchestration.partitions.definition",
    "partitions_definition": "orchestration.partitions.definition",
    "record_made_from": "orchestration.automation.partition_versions",
    "InputTableComponent": "orchestration.components.declared",
    "MlTaskComponent": "orchestration.components.declared",
    "LakeResource": "orchestration.resources",
    "ModelLoaderResource": "orchestration.resources",
    "SparkSessionResource": "orchestration.resources",
    "runtime_definitions": "orchestration.runtime",
}

_UNLISTED = {"TaskTransformer"}
"""Names that `dir` leaves out, since pyspark.ml loads with them, and pandas with that."""

__all__ = sorted(_HOME)  # noqa: PLE0605  (names that load lazily)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    # Dagster looks up every listed name of a registered package to find its components: `dg` pays for the imports in
    # every project that has this package installed. None of them is torch, which takes the longest.
    return sorted({*globals(), *_HOME} - _UNLISTED)

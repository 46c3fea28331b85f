"""Run PyTorch models over big tables with Spark, and see the result as Dagster assets.

Importing this package imports nothing else: every Spark worker does it. The public names below load on first use.
"""

import importlib
from typing import Any

_HOME = {
    "BatchPolicy": "tasks",
    "CategoricalFeature": "tasks",
    "CustomFeature": "tasks",
    "Execution": "tasks",
    "Hooks": "tasks",
    "ImageFeature": "tasks",
    "MlTask": "tasks",
    "ModelSpec": "tasks",
    "NumericFeature": "tasks",
    "RowFilter": "tasks",
    "SequenceFeature": "tasks",
    "SlotPolicy": "tasks",
    "TextFeature": "tasks",
    "ModelLoader": "predict.loader",
    "LocalPredictor": "predict.local",
    "predict_map": "predict.partition",
    "start_session": "spark.session.start",
    "spark_ml_predict": "spark.ml_predict",
    "plan_table": "spark.score.table",
    "score_dataframe": "spark.score.dataframe",
    "score_table": "spark.score.table",
    "InputTable": "tasks.input_table",
    "InputTableComponent": "orchestration.components.declared",
    "MlTaskComponent": "orchestration.components.declared",
    "ModelLoaderResource": "orchestration.resources",
    "LakeResource": "orchestration.resources",
    "SparkSessionResource": "orchestration.resources",
    "build_input_asset": "orchestration.assets.factory",
    "build_prediction_assets": "orchestration.assets.factory",
    "build_prediction_definitions": "orchestration.assets.factory",
    "runtime_definitions": "orchestration.runtime",
}

__all__ = sorted(_HOME)  # noqa: PLE0605  (names that load lazily)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    # Dagster looks at every listed name of a registered package to find its components. Listing those alone spares
    # every project that has this package installed the import of torch and pyspark.
    return [*globals(), *(name for name, home in _HOME.items() if home == "orchestration.components.declared")]

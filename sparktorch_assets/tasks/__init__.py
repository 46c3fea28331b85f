"""Declarations: frozen, validated dataclasses over the standard library alone."""

from sparktorch_assets.tasks.audit_policy import AuditPolicy
from sparktorch_assets.tasks.batch_policy import BatchPolicy
from sparktorch_assets.tasks.challenger_of import ChallengerOf
from sparktorch_assets.tasks.execution import Execution
from sparktorch_assets.tasks.features import (
    AudioFeature,
    CategoricalFeature,
    CustomFeature,
    Feature,
    ImageFeature,
    NumericFeature,
    SequenceFeature,
    TensorFeature,
    TextFeature,
)
from sparktorch_assets.tasks.hooks import Hooks
from sparktorch_assets.tasks.input_table import InputTable, SourceColumn
from sparktorch_assets.tasks.ml_task import MlTask
from sparktorch_assets.tasks.model_spec import ModelSpec
from sparktorch_assets.tasks.outputs import (
    ClassificationOutput,
    ColumnsOutput,
    DetectionOutput,
    EmbeddingOutput,
    GenerationOutput,
    MultilabelOutput,
    Output,
    OutputColumn,
    RegressionOutput,
    TokenClassificationOutput,
)
from sparktorch_assets.tasks.partitions import DynamicPartitions, Partitions, StaticPartitions, TimePartitions
from sparktorch_assets.tasks.rivals import promote
from sparktorch_assets.tasks.row_filter import RowFilter
from sparktorch_assets.tasks.slot_policy import SlotPolicy

__all__ = [
    "AudioFeature",
    "AuditPolicy",
    "BatchPolicy",
    "CategoricalFeature",
    "ChallengerOf",
    "ClassificationOutput",
    "ColumnsOutput",
    "CustomFeature",
    "DetectionOutput",
    "DynamicPartitions",
    "EmbeddingOutput",
    "Execution",
    "Feature",
    "GenerationOutput",
    "Hooks",
    "ImageFeature",
    "InputTable",
    "MlTask",
    "ModelSpec",
    "MultilabelOutput",
    "NumericFeature",
    "Output",
    "OutputColumn",
    "Partitions",
    "RegressionOutput",
    "RowFilter",
    "SequenceFeature",
    "SlotPolicy",
    "SourceColumn",
    "StaticPartitions",
    "TensorFeature",
    "TextFeature",
    "TimePartitions",
    "TokenClassificationOutput",
    "promote",
]

"""Outputs: what a model predicts for a row, one file per kind.

Each says which columns it adds, which of its options change predictions, what an asset's page shows of them and which
checks a table has. `predict/outputs` has their counterparts, which turn a network's tensors into these columns.
"""

from sparktorch_assets.tasks.outputs.classification import ClassificationOutput
from sparktorch_assets.tasks.outputs.column import COLUMN_TYPES, OutputColumn
from sparktorch_assets.tasks.outputs.columns import ColumnsOutput
from sparktorch_assets.tasks.outputs.detection import DetectionOutput
from sparktorch_assets.tasks.outputs.embedding import EmbeddingOutput
from sparktorch_assets.tasks.outputs.generation import GenerationOutput
from sparktorch_assets.tasks.outputs.multilabel import MultilabelOutput
from sparktorch_assets.tasks.outputs.regression import RegressionOutput
from sparktorch_assets.tasks.outputs.token_classification import TokenClassificationOutput

Output = (
    ClassificationOutput
    | MultilabelOutput
    | RegressionOutput
    | EmbeddingOutput
    | GenerationOutput
    | TokenClassificationOutput
    | DetectionOutput
    | ColumnsOutput
)

__all__ = [
    "COLUMN_TYPES",
    "ClassificationOutput",
    "ColumnsOutput",
    "DetectionOutput",
    "EmbeddingOutput",
    "GenerationOutput",
    "MultilabelOutput",
    "Output",
    "OutputColumn",
    "RegressionOutput",
    "TokenClassificationOutput",
]

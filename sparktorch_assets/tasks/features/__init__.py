"""How a table's columns become a model's inputs, declared without touching torch: one file per kind.

Each feature group gives the model's `forward` one argument (text, sequences and audio give two, the second a mask): by name
if the group names it, else by position, in the order of declaration.
Shapes: B rows per batch, F numeric columns, K categorical columns, T tokens, C channels, H height, W width.

A null is replaced by the group's `fill`. If that is `None`, the row fails, and the output says why.
"""

from sparktorch_assets.tasks.features.audio import AudioFeature
from sparktorch_assets.tasks.features.categorical import CategoricalFeature
from sparktorch_assets.tasks.features.custom import CustomFeature
from sparktorch_assets.tasks.features.image import ImageFeature
from sparktorch_assets.tasks.features.numeric import NumericFeature
from sparktorch_assets.tasks.features.sequence import SequenceFeature
from sparktorch_assets.tasks.features.tensor import TensorFeature
from sparktorch_assets.tasks.features.text import TextFeature

Feature = (
    NumericFeature
    | CategoricalFeature
    | TextFeature
    | SequenceFeature
    | TensorFeature
    | ImageFeature
    | AudioFeature
    | CustomFeature
)

__all__ = [
    "AudioFeature",
    "CategoricalFeature",
    "CustomFeature",
    "Feature",
    "ImageFeature",
    "NumericFeature",
    "SequenceFeature",
    "TensorFeature",
    "TextFeature",
]

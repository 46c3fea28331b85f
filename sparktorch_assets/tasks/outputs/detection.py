"""Objects in images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.outputs.column import OutputColumn
from sparktorch_assets.tasks.outputs.labelled_entries import LabelledEntries
from sparktorch_assets.tasks.validation import positive, share

_MIN_SCORE = 0.5
_MAX_BOXES = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectionOutput(LabelledEntries):
    """Objects in an image: `boxes`, the best score first, each with `label`, `score`, and `x_min`, `y_min`, `x_max` and
    `y_max` in pixels of the original image (turned as EXIF says, if the feature does that).

    `forward` returns `logits` (B, Q, C + 1) or (B, Q, C), see `scoring`, and `pred_boxes` (B, Q, 4): the centre's x and
    y, the width and the height, as shares of the image that the network sees.
    """

    min_score: float = _MIN_SCORE
    """Only boxes with a score above this are predicted."""
    max_boxes: int = _MAX_BOXES
    """At most this many boxes per image are predicted, those with the best scores."""
    scoring: Literal["softmax", "sigmoid"] | None = None
    """`softmax`: the last class means that there is no object, and a query gives one box at most (DETR, YOLOS).
    `sigmoid`: there is no such class, and a query may give a box for each label (Deformable DETR, RT-DETR). `None`: what
    a Hugging Face folder's `model_type` says; for any other model, `softmax`."""
    kind: Literal["detection"] = "detection"
    """Tells the outputs apart. YAML has to give it; in Python, the class implies it."""

    refers_to: ClassVar[str | None] = "image"
    """The kind of the feature that the places in the predictions refer to."""
    entry: ClassVar[str] = "box"
    entries: ClassVar[str] = "boxes"
    misplaced: ClassVar[str] = "boxes that cannot lie in an image"
    place_check: ClassVar[str] = "boxes_in_place"
    place_rule: ClassVar[str] = "No box ends before it begins, and none lies left of the image or above it"

    def __post_init__(self) -> None:
        check_fields(self)
        share(self.min_score, "DetectionOutput.min_score")
        positive(self.max_boxes, "DetectionOutput.max_boxes")

    def check_labels(self, labels: Sequence[str]) -> None:
        """Raise TaskError if the options do not fit the labels: they always do."""

    @property
    def main_columns(self) -> tuple[OutputColumn, ...]:
        """The columns, by their names without a prefix."""
        sides = ", ".join(f"{side}: float" for side in ("x_min", "y_min", "x_max", "y_max"))
        return (OutputColumn(name="boxes", type=f"list<struct<label: string, score: float, {sides}>>"),)

    @property
    def digest_parts(self) -> dict[str, Any]:
        """What changes predictions in addition to the columns and the labels."""
        return {
            "kind": self.kind,
            "min_score": self.min_score,
            "max_boxes": self.max_boxes,
            "scoring": self.scoring or "softmax",
        }

    @property
    def tensor_options(self) -> tuple[str, ...]:
        """The options given that only apply to a network's tensors: a model object returns finished values."""
        neutral = (("min_score", _MIN_SCORE), ("max_boxes", _MAX_BOXES), ("scoring", None))
        return tuple(name for name, value in neutral if getattr(self, name) != value)

    @property
    def described(self) -> Mapping[str, str]:
        """Descriptions of columns."""
        return {"boxes": "The objects in the image, in pixels of it, best score first; null where the row failed"}

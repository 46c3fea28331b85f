"""Whatever a user's encoder makes of some columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.code.import_path import check_import_path
from sparktorch_assets.tasks.features.checks import ADDED, check_arguments
from sparktorch_assets.tasks.features.group import FeatureGroup
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.validation import freeze, names


@dataclass(frozen=True, kw_only=True, slots=True, weakref_slot=True)
class CustomFeature(FeatureGroup):
    """Tensors that a user's encoder makes of some columns.

    `encoder` names a callable that, given `arguments` as keywords, returns the encoder: a callable from a
    `pyarrow.RecordBatch` of `columns` (B rows) to one tensor or a tuple of tensors, each with B as first dimension;
    with `sequences`, to a `pyarrow.ListArray` of B lists of numbers.
    """

    columns: Sequence[str]
    """The columns that the encoder gets."""
    encoder: str
    """Import path, `package.module:Class`."""
    arguments: Mapping[str, Any] | Sequence[tuple[str, Any]] = ()
    """Keyword arguments of the encoder."""
    sequences: bool = False
    """The encoder returns sequences of different lengths: `forward` gets `values_BT` (int64 for integers, else float32)
    and `mask_BT`, as for a `SequenceFeature`, and rows of similar length are batched together."""
    argument: str | None = field(default=None, metadata=ADDED)
    """The name under which `forward` gets the encoder's tensor, or the values of its sequences. `None`: by position, in
    the order of the groups."""
    mask_argument: str | None = field(default=None, metadata=ADDED)
    """With `sequences`, the name under which `forward` gets the mask. `None`: by position, after the values."""
    kind: Literal["custom"] = "custom"
    """Tells the groups of a list apart. YAML has to give it; in Python, the class implies it."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_arguments(self)
        names(self.columns, "CustomFeature.columns")
        if self.mask_argument is not None and not self.sequences:
            raise TaskError(
                "CustomFeature.mask_argument is set, but only sequences have a mask; set sequences: true, or leave it out"
            )
        check_import_path(self.encoder, "CustomFeature.encoder")
        object.__setattr__(self, "arguments", freeze(self.arguments, "CustomFeature.arguments"))

    @property
    def has_lengths(self) -> bool:
        """Whether rows differ in length."""
        return self.sequences

    @property
    def arguments_of_forward(self) -> tuple[str | None, ...]:
        """The names under which `forward` gets the group's tensors, in their order; `None` for one that it gets by
        position."""
        return (self.argument, self.mask_argument) if self.sequences else (self.argument,)

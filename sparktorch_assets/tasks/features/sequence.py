"""Lists of numbers of any length."""

from dataclasses import dataclass, field
from typing import Literal

from sparktorch_assets.tasks.features.checks import ADDED, check_arguments, check_fill
from sparktorch_assets.tasks.features.column_types import is_list_of_numbers
from sparktorch_assets.tasks.features.group import SingleColumn
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.validation import names, positive


@dataclass(frozen=True, kw_only=True, slots=True, weakref_slot=True)
class SequenceFeature(SingleColumn):
    """One list of numbers per row (a series, a history, token ids) as padded values: `values_BT`, 0 where padded, and
    `mask_BT` bool (True = a real value)."""

    column: str
    """The column of lists of numbers."""
    dtype: Literal["float32", "int64"] = "float32"
    """The dtype of the values; `int64` for ids that an embedding looks up."""
    max_length: int = 256
    """Longer sequences are cut to this many values."""
    fill: float | None = None
    """Replaces a null value; a null sequence becomes an empty one. `None`: a row with either fails."""
    argument: str | None = field(default=None, metadata=ADDED)
    """The name under which `forward` gets the values. `None`: by position, in the order of the groups."""
    mask_argument: str | None = field(default=None, metadata=ADDED)
    """The name under which `forward` gets the mask. `None`: by position, after the values."""
    kind: Literal["sequence"] = "sequence"
    """Tells the groups of a list apart. YAML has to give it; in Python, the class implies it."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_arguments(self)
        names((self.column,), "SequenceFeature.column")
        positive(self.max_length, "SequenceFeature.max_length")
        check_fill(self)

    @property
    def has_lengths(self) -> bool:
        """Whether rows differ in length."""
        return True

    @property
    def arguments_of_forward(self) -> tuple[str | None, ...]:
        """The names under which `forward` gets the group's tensors, in their order; `None` for one that it gets by
        position."""
        return self.argument, self.mask_argument

    def wrong_type(self, found: str) -> str | None:
        """What is wrong with a column of the type `found`, as `str(pyarrow.DataType)` gives it; `None` if it fits."""
        return None if is_list_of_numbers(found) else "it must be a list of numbers"

"""Numbers that a model takes as they are."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from sparktorch_assets.tasks.features.checks import ADDED, check_arguments
from sparktorch_assets.tasks.features.column_types import is_list_of_numbers, is_number
from sparktorch_assets.tasks.features.group import FeatureGroup
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.validation import names


@dataclass(frozen=True, kw_only=True, slots=True, weakref_slot=True)
class NumericFeature(FeatureGroup):
    """Numbers, booleans and dates' parts as one float tensor: `x_BF` float32."""

    columns: Sequence[str]
    """The columns, in the order in which the model was trained."""
    fill: float | None = None
    """Stands in for a null. `None`: a row with a null fails."""
    argument: str | None = field(default=None, metadata=ADDED)
    """The name under which `forward` gets the tensor. `None`: by position, in the order of the groups."""
    kind: Literal["numeric"] = "numeric"
    """Tells the groups of a list apart. YAML has to give it; in Python, the class implies it."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_arguments(self)
        names(self.columns, "NumericFeature.columns")

    def wrong_type(self, found: str) -> str | None:
        """What is wrong with a column of the type `found`, as `str(pyarrow.DataType)` gives it; `None` if it fits."""
        if is_number(found):
            return None
        other = "sequence" if is_list_of_numbers(found) else "categorical or text"
        return f"declare it as {other}, or give the input table's column a numeric type"

"""Lists and vectors of one shape."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.features.checks import check_arguments, check_fill
from sparktorch_assets.tasks.features.column_types import is_list_or_vector
from sparktorch_assets.tasks.features.group import SingleColumn
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.validation import names, positive


@dataclass(frozen=True, kw_only=True, slots=True, weakref_slot=True)
class TensorFeature(SingleColumn):
    """One list of numbers per row, all of the same length, or one Spark ML vector, as a tensor of one shape:
    `x_B...`."""

    column: str
    """The column of lists, of lists nested as deep as the shape, or of Spark ML vectors (`VectorUDT`)."""
    shape: Sequence[int]
    """The shape of one row's tensor. A list or vector that is not nested holds its values row by row."""
    dtype: Literal["float32", "float64", "int64", "bool"] = "float32"
    """The dtype of the tensor. Values that it cannot represent (fractions as int64, other numbers than 0 and 1 as bool)
    fail their row."""
    fill: float | None = None
    """Replaces a null value, and every value of a null row. `None`: a row with a null fails."""
    argument: str | None = None
    """The name under which `forward` gets the tensor. `None`: by position, in the order of the groups."""
    kind: Literal["tensor"] = "tensor"
    """Tells the groups of a list apart. YAML has to give it; in Python, the class implies it."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_arguments(self)
        names((self.column,), "TensorFeature.column")
        if not self.shape:
            raise TaskError("TensorFeature.shape is empty; give the length of a row's list, such as [768]")
        for size in self.shape:
            positive(size, "TensorFeature.shape")
        check_fill(self)

    def wrong_type(self, found: str) -> str | None:
        """What is wrong with a column of the type `found`, as `str(pyarrow.DataType)` gives it; `None` if it fits."""
        return None if is_list_or_vector(found) else "it must be a list of numbers, or a Spark ML vector"

"""Which rows of its input a task takes: conditions on single columns, all of which must hold (nulls never do)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.plain import Scalar, freeze, names

Operator = Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in"]
_OPERATORS = ("==", "!=", "<", "<=", ">", ">=", "in", "not in")


@dataclass(frozen=True, kw_only=True, slots=True)
class RowFilter:
    """`column op value`, in the terms of pyarrow's `filters`."""

    column: str
    op: Operator = "=="
    value: Scalar | Sequence[Any]

    def __post_init__(self) -> None:
        names((self.column,), "RowFilter.column")
        object.__setattr__(self, "value", freeze(self.value))
        if self.op not in _OPERATORS:
            raise TaskError(f"RowFilter.op={self.op!r}; choose one of {', '.join(_OPERATORS)}")
        if self.op in ("in", "not in") and not isinstance(self.value, tuple):
            raise TaskError(f"RowFilter on {self.column!r}: {self.op!r} needs a list of values, found {self.value!r}")
        if self.op not in ("in", "not in") and (isinstance(self.value, tuple) or self.value is None):
            raise TaskError(f"RowFilter on {self.column!r}: {self.op!r} needs one value, found {self.value!r}")

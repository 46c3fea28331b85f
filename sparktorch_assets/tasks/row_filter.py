"""Which rows of its input a task takes: conditions on single columns, all of which must hold (nulls never do).

`row_test` says what a condition means for a column of a given type.
"""

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from sparktorch_assets.errors import TaskError
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.validation import names

Operator = Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in"]

Comparable = str | int | float | bool | dt.date | dt.datetime | Decimal | bytes
_TYPES = (str, int, float, bool, dt.date, dt.datetime, Decimal, bytes)


@dataclass(frozen=True, kw_only=True, slots=True)
class RowFilter:
    """`column op value`, as in pyarrow's `filters`.

    The column's type decides what `value` may be: a number, a boolean, text, bytes, or a date or a time, which may also
    be given as ISO text (`2013-01-31`, `2013-01-31T08:00:00Z`).
    """

    column: str
    """The column that is compared."""
    op: Operator = "=="
    """How it is compared; `in` and `not in` need a list of values."""
    value: Comparable | Sequence[Any] | None
    """What it is compared with. A null is refused, since no condition holds for one."""

    def __post_init__(self) -> None:
        check_fields(self)
        names((self.column,), "RowFilter.column")
        if self.op in ("in", "not in") and not isinstance(self.value, tuple):
            raise TaskError(f"RowFilter on {self.column!r}: {self.op!r} needs a list of values, found {self.value!r}")
        if self.op not in ("in", "not in") and (isinstance(self.value, tuple) or self.value is None):
            raise TaskError(f"RowFilter on {self.column!r}: {self.op!r} needs one value, found {self.value!r}")
        for literal in self.literals:
            self._check(literal)

    def _check(self, literal: Any) -> None:
        where = f"RowFilter on {self.column!r}"
        if literal is None:
            raise TaskError(
                f"{where}: {self.op!r} has a null among its values. No condition holds for a null, so rows cannot be "
                f"selected by one; leave it out"
            )
        # Exactly these types: those of NumPy and pandas can hold more (nanoseconds), or look different in a digest.
        if type(literal) not in _TYPES:
            raise TaskError(
                f"{where}: {literal!r} is a {type(literal).__name__}; give a str, int, float, bool, date, datetime, Decimal "
                f"or bytes (`.item()` and `.to_pydatetime()` convert NumPy's and pandas' values)"
            )
        if isinstance(literal, float | Decimal) and math.isnan(literal):
            raise TaskError(
                f"{where}: value={literal!r}: NaN equals nothing, not even itself. To exclude NaN, write `>= -inf` "
                f"(-.inf in YAML): no order comparison holds for NaN"
            )

    @property
    def literals(self) -> tuple[Any, ...]:
        """The value, or the values of the list."""
        return self.value if isinstance(self.value, tuple) else (self.value,)

    @property
    def plain(self) -> list[Any]:
        """The condition as JSON values, for digests: equal for equal conditions, whatever the order of a list."""
        return [self.column, self.op, sorted({(type(literal).__name__, _text(literal)) for literal in self.literals})]


def _text(literal: Any) -> str:
    if isinstance(literal, bytes):
        return literal.hex()
    return literal.isoformat() if isinstance(literal, dt.date) else str(literal)

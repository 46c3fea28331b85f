"""What a condition means for a column of a given type: one exact test, used alike for rows, for the bounds of row
groups and for Spark's columns.

A literal between two values of the column's type is replaced by a value that gives the same answer: for whole numbers,
`< 2.5` becomes `<= 2`, `== 2.5` holds for no row, and `!= 2.5` for all rows that are not null. Dates and times become
whole numbers. What remains are comparisons with values that the column itself can hold.
"""

import datetime as dt
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

from sparktorch_assets.errors import InputSchemaError, nearest
from sparktorch_assets.tasks.row_filter import RowFilter

Kind = Literal["whole", "float", "double", "decimal", "boolean", "date", "timestamp", "text", "binary", "null"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RowTest:
    """`column op values`, with values of the column's type. It never holds for a null, and compares NaN as IEEE 754
    does: for NaN, only `not in` holds."""

    column: str
    kind: Kind
    """How to compare. `float`: the column is narrower than a double, and is widened first."""
    op: Literal["in", "not in", "<", "<=", ">", ">="]
    """An order comparison has exactly one value. `in` without values holds for no row, `not in` for every row that is
    not null."""
    values: tuple[Any, ...]
    """Sorted. `whole` and `boolean`: int; `float` and `double`: float; `decimal`: Decimal with the column's scale;
    `date`: days since 1970; `timestamp`: time since 1970 (in UTC, if the column has a zone) in the column's unit, or in
    microseconds if that is nanoseconds; `text`: str; `binary`: bytes."""


def row_tests(where: Iterable[RowFilter], column_types: Mapping[str, str], place: str) -> tuple[RowTest, ...]:
    """The conditions as tests.

    Args:
        where: the conditions.
        column_types: the table's columns; types as `str(pyarrow.DataType)` gives them.
        place: the beginning of error messages: the task and its input.

    Raises:
        InputSchemaError: a column is missing, or its type cannot be compared at all, or not with the given value.
    """
    found = []
    for condition in where:
        if condition.column not in column_types:
            raise InputSchemaError(
                f"{place}: where needs column {condition.column!r}; {nearest(condition.column, column_types)}"
            )
        kind = column_types[condition.column]
        domain = _domain(kind)
        if domain is None:
            raise InputSchemaError(
                f"{place}: where: column {condition.column!r} has type {kind}, which no condition can be tested on; use "
                f"columns of numbers, booleans, text, binary, dates or timestamps"
            )
        between = []
        for literal in condition.literals:
            try:
                between.append(domain.between(literal))
            except _UnlikeError as unlike:
                raise InputSchemaError(
                    f"{place}: where: column {condition.column!r} has type {kind}, which cannot be compared with "
                    f"{literal!r} ({type(literal).__name__}); {unlike}"
                ) from None
        found.append(_test(condition, domain.kind, between))
    return tuple(found)


class _UnlikeError(Exception):
    """The column's values cannot be compared with the literal; the message says what to write instead."""


Between = tuple[Any, Any]
"""The greatest value of the domain at or below a literal, and the smallest at or above it; `None` if there is none.
Both equal the literal if the domain contains it. For whole numbers, 2.5 gives `(2, 3)` and 2 gives `(2, 2)`."""


@dataclass(frozen=True, slots=True)
class _Domain:
    """The values that a column can hold, in their order."""

    kind: Kind
    between: Callable[[Any], Between]


def _test(condition: RowFilter, kind: Kind, between: list[Between]) -> RowTest:
    column, op = condition.column, condition.op
    if op in ("==", "!=", "in", "not in"):
        held = {below for below, above in between if below is not None and below == above}
        return RowTest(
            column=column, kind=kind, op="in" if op in ("==", "in") else "not in", values=tuple(sorted(held))
        )
    ((below, above),) = between
    value = below if op in ("<", "<=") else above
    if value is None:
        return RowTest(column=column, kind=kind, op="in", values=())
    between_values = below != above  # the column cannot hold the literal itself
    order: Any = {"<": "<=", ">": ">="}.get(op, op) if between_values else op
    return RowTest(column=column, kind=kind, op=order, values=(value,))


def _domain(column_type: str) -> _Domain | None:  # noqa: PLR0911  (one return per type)
    if match := re.fullmatch(r"dictionary<values=(.*), indices=.*>", column_type):
        return _domain(match[1])
    if match := re.fullmatch(r"(u?)int(8|16|32|64)", column_type):
        bits = int(match[2])
        low, high = (0, 2**bits - 1) if match[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        return _Domain("whole", lambda literal: _around(_number(literal), low, high))
    if column_type in ("double", "float", "halffloat"):
        return _Domain("double" if column_type == "double" else "float", _doubles)
    if match := re.fullmatch(r"decimal\d+\((\d+), (-?\d+)\)", column_type):
        precision, scale = int(match[1]), int(match[2])
        return _Domain("decimal", lambda literal: _decimals(literal, precision, scale))
    if match := re.fullmatch(r"timestamp\[(s|ms|us|ns)(, tz=.*)?\]", column_type):
        micros, zoned = {"s": 1_000_000, "ms": 1_000}.get(match[1], 1), match[2] is not None
        return _Domain("timestamp", lambda literal: _around(_micros(literal, micros, zoned=zoned), -(2**63), 2**63 - 1))
    if column_type in ("date32[day]", "date64[ms]"):
        return _Domain("date", lambda literal: _around(_micros(literal, _DAY, zoned=False), -(2**31), 2**31 - 1))
    if column_type == "bool":
        return _Domain("boolean", lambda literal: _same(int(_of(literal, bool, "give true or false, without quotes"))))
    if column_type in ("string", "large_string", "string_view"):
        return _Domain("text", lambda literal: _same(_text(literal)))
    if re.fullmatch(r"(large_)?binary|binary_view|fixed_size_binary\[\d+\]", column_type):
        return _Domain("binary", lambda literal: _same(_of(literal, bytes, "give bytes (!!binary in YAML)")))
    return _Domain("null", lambda _: (None, None)) if column_type == "null" else None


def _same(value: Any) -> Between:
    return value, value


def _of(literal: Any, kind: type, way_out: str) -> Any:
    if type(literal) is not kind:
        raise _UnlikeError(way_out)
    return literal


def _text(literal: Any) -> str:
    text: str = _of(literal, str, "give text (in YAML, within quotes)")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _UnlikeError("give valid Unicode text") from None
    return text


_BEYOND = 400
"""Number of decimal digits. No type holds a number with more digits before the point, or with more zeros after it."""


def _number(literal: Any) -> Fraction | float:
    """The literal's exact value; an infinity stays one."""
    if isinstance(literal, bool) or not isinstance(literal, int | float | Decimal):
        raise _UnlikeError("give a number" + (" (without quotes)" if isinstance(literal, str) else ""))
    if literal.is_infinite() if isinstance(literal, Decimal) else isinstance(literal, float) and math.isinf(literal):
        return float(literal)
    if isinstance(literal, Decimal) and literal and abs(literal.adjusted()) > _BEYOND:
        far = Fraction(10) ** (
            _BEYOND if literal.adjusted() > 0 else -_BEYOND
        )  # beyond every column's range, and without a million digits
        return far if literal > 0 else -far
    return Fraction(literal)


def _around(value: Fraction | float, low: int, high: int) -> Between:
    """The neighbours of `value` among the whole numbers from `low` to `high`."""
    if isinstance(value, float):
        return (high, None) if value > 0 else (None, low)
    below, above = math.floor(value), math.ceil(value)
    return (min(below, high) if below >= low else None), (max(above, low) if above <= high else None)


def _doubles(literal: Any) -> Between:
    value = _number(literal)
    if isinstance(value, float):
        return _same(value)
    try:
        near = float(literal)
    except OverflowError:
        near = math.inf if value > 0 else -math.inf
    # A decimal fraction stands for the nearest double, as in Python and SQL; a whole number stands for itself, even
    # beyond 2^53.
    if math.isfinite(near) and (value.denominator != 1 or near == value):
        return _same(near + 0.0)  # 0.0 for -0.0
    if near < value:
        return near, math.nextafter(near, math.inf)
    return math.nextafter(near, -math.inf), near


def _decimals(literal: Any, precision: int, scale: int) -> Between:
    # A float stands for the digits that it is printed with: 0.1, not the double next to it.
    value = _number(Decimal(repr(literal)) if type(literal) is float else literal)
    high = 10**precision - 1
    scaled = value if isinstance(value, float) else value * Fraction(10) ** scale

    def unscaled(number: int | None) -> Decimal | None:
        if number is None:
            return None
        return Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -scale))  # exact, whatever the precision

    below, above = _around(scaled, -high, high)
    return unscaled(below), unscaled(above)


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_DAY = 86_400_000_000
"""Microseconds per day."""


def _micros(literal: Any, unit: int, *, zoned: bool) -> Fraction:
    """The time since 1970 in units of `unit` microseconds. A date stands for its midnight, and a time without an offset
    is in UTC."""
    way_out = "give a date or a time (2013-01-31, or 2013-01-31T08:00:00" + ("Z)" if zoned else ")")
    if isinstance(literal, str):
        if re.search(r"[.,]\d{7}", literal):  # Python would silently truncate it
            raise _UnlikeError("times are compared in microseconds; give at most six digits after the point")
        try:
            literal = dt.datetime.fromisoformat(literal)
        except ValueError:
            raise _UnlikeError(way_out) from None
    if not isinstance(literal, dt.date):
        raise _UnlikeError(way_out)
    if not isinstance(literal, dt.datetime):
        literal = dt.datetime(literal.year, literal.month, literal.day, tzinfo=dt.UTC)
    elif literal.tzinfo is None:
        literal = literal.replace(tzinfo=dt.UTC)
    elif not zoned:
        raise _UnlikeError("the column's values have no time zone; leave the offset out")
    return Fraction((literal - _EPOCH) // _MICROSECOND, unit)

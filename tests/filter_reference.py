"""What a filter means, in plain Python over exact numbers, and the values and literals to try it on."""

import datetime as dt
import math
import operator
from decimal import Decimal

import pyarrow as pa

OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def holds(row, op, literal, kind):
    """Whether `row op literal` holds for a value of a column of this Arrow type; times are whole numbers since 1970."""
    if row is None:
        return False
    if op in ("in", "not in"):
        return (op == "in") == any(holds(row, "==", one, kind) for one in literal)
    if isinstance(row, float) and math.isnan(row):
        return op == "!="
    if pa.types.is_timestamp(kind):
        row, literal = int(Decimal(row) / 1000) if kind.unit == "ns" else row * UNITS[kind.unit], micros(literal)
    elif pa.types.is_date(kind):
        row, literal = row * 86_400_000_000, micros(literal)
    elif pa.types.is_decimal(kind) and isinstance(literal, float):
        literal = Decimal(repr(literal))
    elif pa.types.is_floating(kind) and isinstance(literal, Decimal) and "E" not in str(literal):
        literal = float(literal)
    return OPERATORS[op](row, literal)


def micros(literal):
    if isinstance(literal, str):
        literal = dt.datetime.fromisoformat(literal)
    if not isinstance(literal, dt.datetime):
        literal = dt.datetime.combine(literal, dt.time())
    return ((literal if literal.tzinfo else literal.replace(tzinfo=dt.UTC)) - EPOCH) // dt.timedelta(microseconds=1)


NAN, INF = float("nan"), math.inf
SINGLE = 0.10000000149011612  # the single-precision number next to 0.1
MICROS = [0, 1, -1, 1_356_998_400_000_000, 1_356_998_400_000_001, -62_135_596_800_000_000, 253_402_300_799_999_999]
NUMBERS = [0, 1, -1, 2, 2.5, -2.5, -0.0, 0.1, SINGLE, Decimal("0.1"), Decimal("2.50"), Decimal("2.505"), 127, 128, -129]
NUMBERS += [
    2**53 + 1,
    2**63,
    2**63 - 1,
    -(2**63) - 1,
    2**64,
    1e300,
    10**400,
    -(10**400),
    Decimal("1E+999999"),
    INF,
    -INF,
]
TIMES = [
    dt.date(2013, 1, 1), dt.date(1970, 1, 1), dt.date(1, 1, 1), dt.date(9999, 12, 31), "2013-01-01", "1969-12-31",
    dt.datetime(2013, 1, 1), dt.datetime(2013, 1, 1, 0, 0, 0, 1), "2013-01-01T00:00:00.000001", "1970-01-01 00:00:00.000001",
    dt.datetime(1969, 12, 31, 23, 59, 59, 999_999), dt.datetime(9999, 12, 31, 23, 59, 59, 999_999),
]  # fmt: skip
ZONED = ["2013-01-01T01:00:00+01:00", dt.datetime(1970, 1, 1, tzinfo=dt.UTC), "1970-01-01T00:00:00.000001Z"]
WORDS = ["", "a", "A", "ab", "a ", "é", "\U0001f600", "￿", "z" * 100]
DAYS = [0, 1, -1, 15_706, -719_162, 2_932_896, -(2**31), 2**31 - 1]


def whole(bits, signed):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return [one for one in (low, -2, -1, 0, 1, 2, 3, 127, 2**53, 2**53 + 1, high) if low <= one <= high]


FLOATS = [0.0, -0.0, 1.0, -1.5, 2.5, SINGLE, INF, -INF, NAN]
CASES = {
    **{kind: (whole(kind.bit_width, True), NUMBERS) for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())},
    **{kind: (whole(kind.bit_width, False), NUMBERS) for kind in (pa.uint8(), pa.uint32(), pa.uint64())},
    pa.float16(): ([one for one in FLOATS if one != SINGLE], NUMBERS),
    pa.float32(): (FLOATS, NUMBERS),
    pa.float64(): ([*FLOATS, 0.1, 1e300, 2.0**53, 1.7976931348623157e308, 5e-324], NUMBERS),
    pa.decimal128(5, 2): ([Decimal(text) for text in ("0.10", "2.50", "2.51", "-999.99", "999.99", "0.00")], NUMBERS),
    pa.decimal128(38, 1): ([Decimal("9" * 37 + ".9"), Decimal("-2.5"), Decimal("0.1"), Decimal("0.0")], NUMBERS),
    pa.bool_(): ([True, False], [True, False]),
    pa.string(): (WORDS, WORDS),
    pa.large_string(): (WORDS, WORDS),
    pa.dictionary(pa.int32(), pa.string()): (WORDS, WORDS),
    pa.binary(): ([b"", b"a", b"\xff", b"ab", b"z" * 100], [b"", b"a", b"\xff\x00", b"\x80"]),
    pa.binary(2): ([b"aa", b"\xff\xff", b"\x00\x00"], [b"aa", b"", b"\xff", b"aaa"]),
    pa.date32(): (DAYS, TIMES),
    pa.timestamp("s", "UTC"): ([one // 1_000_000 for one in MICROS], TIMES + ZONED),
    pa.timestamp("ms"): ([one // 1_000 for one in MICROS], TIMES),
    pa.timestamp("us"): ([*MICROS, -(2**63), 2**63 - 1], TIMES),
    pa.timestamp("us", "UTC"): ([*MICROS, -(2**63), 2**63 - 1], TIMES + ZONED),
    pa.timestamp("ns", "UTC"): ([0, 1, -1, -999, -1000, -1001, 999, 1000, 1_356_998_400_000_000_001, 2**63 - 1], TIMES + ZONED),
    pa.null(): ([None], [*NUMBERS, *WORDS, *TIMES]),
}  # fmt: skip
"""Arrow type -> values that a column can hold, and literals to compare it with."""


def array(values, kind):
    """The column; times are given as whole numbers."""
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.int64()).view(kind)
    return pa.array(values, pa.int32()).view(kind) if pa.types.is_date32(kind) else pa.array(values, kind)

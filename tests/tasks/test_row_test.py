"""Conditions as exact tests: what a literal becomes for a type, what is refused in planning, and what the digest sees."""

import dataclasses
import datetime as dt
import math
from decimal import Decimal

import pytest

from sparktorch_assets.errors import InputSchemaError, TaskError
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature, RowFilter
from sparktorch_assets.tasks.digest import task_digest
from sparktorch_assets.tasks.row_test import row_tests

TASK = MlTask(
    name="t",
    input="table",
    model=ModelSpec(weights="m.safetensors", architecture="torch.nn:Linear"),
    features=[NumericFeature(columns=["x"])],
    labels=["0", "1"],
)
MIDNIGHT = 1_356_998_400_000_000  # 2013-01-01, in microseconds


def row_test_of(kind, op, value):
    (test,) = row_tests([RowFilter(column="c", op=op, value=value)], {"c": kind}, "task 't'")
    return test.op, test.values


@pytest.mark.promise("T71", "T74")
@pytest.mark.parametrize(
    ("kind", "op", "value", "expected"),
    [
        ("int64", "<", 2.5, ("<=", (2,))),
        ("int64", ">=", 2.5, (">=", (3,))),
        ("int64", "==", 2.5, ("in", ())),
        ("int64", "!=", 2.5, ("not in", ())),
        ("int64", "in", [2, 2.0, 2.5, 1], ("in", (1, 2))),
        ("int8", "<", 1000, ("<=", (127,))),
        ("int8", ">", 1000, ("in", ())),
        ("uint8", "<", -1, ("in", ())),
        ("uint64", "<=", 2**64, ("<=", (2**64 - 1,))),
        ("int64", ">", -math.inf, (">=", (-(2**63),))),
        ("double", "==", 2**53 + 1, ("in", ())),
        ("double", ">", 10**400, (">=", (math.inf,))),
        ("double", "==", Decimal("0.1"), ("in", (0.1,))),
        ("float", "==", 0.1, ("in", (0.1,))),
        ("decimal128(5, 2)", "==", 0.1, ("in", (Decimal("0.10"),))),
        ("decimal128(5, 2)", "<", Decimal("0.105"), ("<=", (Decimal("0.10"),))),
        ("decimal128(5, 2)", ">", 1000, ("in", ())),
        ("bool", "<", True, ("<", (1,))),
        ("date32[day]", "==", dt.date(2013, 1, 1), ("in", (15_706,))),
        ("date32[day]", "<", "2013-01-01T12:00:00", ("<=", (15_706,))),
        ("timestamp[us]", ">=", dt.date(2013, 1, 1), (">=", (MIDNIGHT,))),
        ("timestamp[us, tz=UTC]", "==", "2013-01-01T01:00:00+01:00", ("in", (MIDNIGHT,))),
        ("timestamp[us, tz=UTC]", "==", dt.datetime.fromisoformat("2013-01-01"), ("in", (MIDNIGHT,))),
        ("timestamp[s]", "<", "2013-01-01T00:00:00.5", ("<=", (MIDNIGHT // 1_000_000,))),
        ("dictionary<values=string, indices=int32, ordered=0>", "==", "a", ("in", ("a",))),
        ("null", "!=", 1, ("not in", ())),
    ],
)
def test_a_literal_becomes_a_value_of_the_column(kind, op, value, expected):
    """The same rows pass, and what is compared is a value that the column could hold."""
    assert row_test_of(kind, op, value) == expected


@pytest.mark.promise("T74")
@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (
            "int64",
            "5",
            r"'c' has type int64, which cannot be compared with '5' \(str\); give a number \(without quotes\)",
        ),
        ("int64", True, r"True \(bool\); give a number"),
        ("string", 668, r"668 \(int\); give text \(in YAML, within quotes\)"),
        ("string", False, r"False \(bool\); give text"),
        ("string", dt.date(2013, 1, 1), r"give text"),
        ("bool", 1, r"give true or false"),
        ("binary", "a", r"give bytes"),
        ("date32[day]", 20130101, r"give a date or a time"),
        ("date32[day]", "1/2/2013", r"give a date or a time \(2013-01-31"),
        ("date32[day]", "2013-01-01T00:00:00Z", r"no time zone; leave the offset out"),
        ("timestamp[us]", "2013-01-01T00:00:00.1234567", r"at most six digits"),
        ("list<item: int64>", 1, r"no condition can be tested on; use columns of numbers"),
        ("struct<a: int64>", 1, r"no condition can be tested on"),
        ("time64[us]", 1, r"no condition can be tested on"),
    ],
)
@pytest.mark.parametrize("op", ["==", "<", "in"])
def test_what_cannot_be_compared_is_refused_in_planning(kind, op, value, message):
    """The message names column, type, literal and the way out; no row was read by then."""
    task = dataclasses.replace(TASK, where=[RowFilter(column="c", op=op, value=[value] if op == "in" else value)])
    with pytest.raises(InputSchemaError, match=r"task 't' on input 'table': where: .*" + message):
        task.check_input({"x": "double", "c": kind})


@pytest.mark.parametrize(
    ("op", "value", "message"),
    [
        ("in", [1, None], r"'in' has a null among its values. No condition holds for a null"),
        ("not in", [None], r"leave it out"),
        ("==", math.nan, r"NaN equals nothing"),
        ("in", [1.0, Decimal("nan")], r"NaN equals nothing"),
        ("==", {1}, r"\(set\); expected a string"),
        ("<", dt.time(1), r"\(datetime.time\); expected a string"),
    ],
)
@pytest.mark.promise("T72", "T73")
def test_what_no_column_can_be_compared_with_is_refused_where_it_is_written(op, value, message):
    with pytest.raises(TaskError, match=message):
        RowFilter(column="c", op=op, value=value)


LITERALS = [
    1, 1.0, True, "1", b"1", Decimal(1), dt.date(2013, 1, 1), dt.datetime.fromisoformat("2013-01-01"),
    dt.datetime.fromisoformat("2013-01-01T00:00:00Z"), "2013-01-01", math.inf, Decimal("0.1"), 0.1,
]  # fmt: skip


def test_every_literal_counts_in_the_digest_and_the_order_of_a_list_does_not():
    """Also those that JSON has no form for; 1, 1.0, true and "1" are four conditions."""
    digests = [task_digest(dataclasses.replace(TASK, where=[RowFilter(column="c", value=one)])) for one in LITERALS]
    assert len(set(digests)) == len(LITERALS)
    one, other = (
        task_digest(dataclasses.replace(TASK, where=[RowFilter(column="c", op="in", value=values)]))
        for values in (LITERALS, [*LITERALS[::-1], LITERALS[0]])
    )
    assert one == other

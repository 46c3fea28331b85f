"""Declared partitions: what is refused, and that windows divide time without a gap or an overlap."""

import datetime as dt
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparktorch_assets.errors import InputSchemaError, TaskError
from sparktorch_assets.tasks import DynamicPartitions, InputTable, StaticPartitions, TimePartitions
from sparktorch_assets.tasks.partitions import unusable_as_key
from sparktorch_assets.tasks.row_filter import RowFilter

UTC_TIME, DATE, LOCAL_TIME = "timestamp[us, tz=UTC]", "date32[day]", "timestamp[us]"
MONTHS = TimePartitions(by="month", column="at", start="2013-01-01", timezone="America/New_York")


def partition(declared, key, kind):
    (found,) = declared.table_partitions([key], {"at": kind}, "task 't'")
    return found


@pytest.mark.promise("O68")
@given(
    by=st.sampled_from(["month", "day"]),
    zone=st.sampled_from(["UTC", "America/New_York", "Asia/Kathmandu", "America/Sao_Paulo", "Africa/Cairo"]),
    first=st.dates(dt.date(1990, 1, 1), dt.date(2030, 12, 1)),
)
def test_a_window_ends_where_the_next_begins(by, zone, first):
    """In instants, also where clocks are changed at midnight."""
    declared = TimePartitions(by=by, column="at", start=first.replace(day=1), timezone=zone)
    _, end = declared.window(declared.start)
    one, two = (partition(declared, key, UTC_TIME).where for key in (declared.start, f"{end:%Y-%m-%d}"))
    assert (one[0].op, one[1].op) == (">=", "<")
    assert one[1].value == two[0].value > one[0].value


@pytest.mark.promise("O68")
def test_a_month_begins_at_midnight_where_it_is_declared():
    where = partition(MONTHS, "2013-03-01", UTC_TIME).where
    zone = ZoneInfo("America/New_York")
    assert [condition.value for condition in where] == [
        dt.datetime(2013, 3, 1, tzinfo=zone).astimezone(dt.UTC),  # winter
        dt.datetime(2013, 4, 1, tzinfo=zone).astimezone(dt.UTC),  # summer
    ]


def test_times_without_a_zone_and_dates_are_taken_as_they_are():
    assert [str(found.value) for found in partition(MONTHS, "2013-03-01", LOCAL_TIME).where] == [
        "2013-03-01 00:00:00",
        "2013-04-01 00:00:00",
    ]
    assert [found.value for found in partition(MONTHS, "2013-03-01", DATE).where] == [
        dt.date(2013, 3, 1),
        dt.date(2013, 4, 1),
    ]


def test_a_day_of_a_column_of_dates_is_that_columns_value():
    found = partition(TimePartitions(by="day", column="at", start="2013-01-01"), "2013-03-02", DATE)
    assert (found.column, found.value) == ("at", "2013-03-02")
    assert found.where == (RowFilter(column="at", value=dt.date(2013, 3, 2)),)


def test_predictions_that_are_divided_already_are_selected_by_the_column_that_was_added():
    (found,) = MONTHS.table_partitions(["2013-03-01"], {"at": UTC_TIME, "at_month": "string"}, "t")
    assert (found.column, found.where) == ("at_month", (RowFilter(column="at_month", value="2013-03-01"),))


def test_hours_have_keys_as_dagster_writes_them():
    hours = TimePartitions(by="hour", column="at", start="2013-01-01T05:00")
    assert hours.start == "2013-01-01-05:00"
    assert [str(bound) for bound in hours.window("2013-01-01-23:00")] == ["2013-01-01 23:00:00", "2013-01-02 00:00:00"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": "2013-01-15"}, "lies within a month; write 2013-01-01"),
        ({"start": "soon"}, "is no date or time such as 2013-01-01"),
        ({"start": "2013-01-01T00:00+01:00"}, "has an offset from UTC; leave it out, and name the time zone"),
        ({"end": "2013-01-01"}, "end='2013-01-01' is not after start"),
        ({"timezone": "Europe/Wien"}, "'Europe/Wien' is no time zone; did you mean"),
        ({"by": "hour"}, "does not go with by='hour': where clocks are put back.*Leave timezone out"),
        ({"max_partitions_per_run": 0}, "max_partitions_per_run=0 must be a number above 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes, message):
    with pytest.raises(TaskError, match=message):
        replace(MONTHS, **changes)


@pytest.mark.parametrize(
    ("declared", "kind", "message"),
    [
        (MONTHS, "string", "has type string; it must be a timestamp, or a date.*by: static or by: dynamic"),
        (replace(MONTHS, by="hour", timezone="UTC"), DATE, "it must be a timestamp. For one"),
        (StaticPartitions(column="at", values=["05"]), "int64", "'05' is no value of column 'at' of type int64, which is written 5"),
        (StaticPartitions(column="at", values=["x"]), "int64", "'x' is no value of column 'at' of type int64$"),
        (StaticPartitions(column="at", values=["x"]), "double", "has type double; partition by the values of a string"),
        (DynamicPartitions(column="at"), "list<item: float>", "has type list.*; partition by the values of a string"),
        (DynamicPartitions(column="et"), "string", "need column 'et'; Known: at"),
    ],
)  # fmt: skip
def test_a_column_that_does_not_fit_is_refused_with_the_way_out(declared, kind, message):
    with pytest.raises(InputSchemaError, match=f"^task 't'.*{message}"):
        declared.table_column({"at": kind}, "task 't'")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "for a null"),
        ("__HIVE_DEFAULT_PARTITION__", "for a null"),
        ("a\nb", "control characters"),
        ("a...b", "three dots"),
        ("x" * 201, "longer than 200 bytes"),
    ],
)
def test_values_that_cannot_be_keys_are_refused(value, why):
    assert why in unusable_as_key(value)
    with pytest.raises(TaskError, match=why if value else "empty string"):
        StaticPartitions(column="a", values=["b", value])


@pytest.mark.promise("O75")
@pytest.mark.parametrize("several", [[MONTHS, DynamicPartitions(column="b")], {"month": MONTHS, "place": None}])
def test_two_ways_of_dividing_at_once_are_refused_with_the_reason(several):
    with pytest.raises(TaskError, match="InputTable.partitions divides the table in several ways.*leave the other to"):
        InputTable(name="t", source="a", format="csv", columns={"at": "timestamp"}, partitions=several)


def test_a_table_is_divided_by_one_of_its_columns():
    with pytest.raises(TaskError, match="partitions are by column 'et', which is not among its columns; Known: at"):
        InputTable(
            name="t", source="a", format="csv", columns={"at": "string"}, partitions=DynamicPartitions(column="et")
        )


def test_equal_declarations_are_equal_however_the_start_is_written():
    assert replace(MONTHS, start=dt.date(2013, 1, 1)) == replace(MONTHS, start="2013-01-01T00:00") == MONTHS

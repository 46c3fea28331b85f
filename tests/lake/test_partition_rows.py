"""Rows by partition: each row is in the partition whose conditions it meets, and in no other."""

import datetime as dt
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delta_log import column, inline_vector, put_file, write_log
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from sparktorch_assets.errors import InputSchemaError
from sparktorch_assets.lake.rows import partition_rows
from sparktorch_assets.lake.rows.partition_rows import count_values, divide_rows
from sparktorch_assets.lake.table import Table
from sparktorch_assets.tasks import StaticPartitions, TimePartitions

ZONE = ZoneInfo("America/New_York")
MONTHS = TimePartitions(by="month", column="at", start="2013-01-01", end="2013-07-01", timezone=ZONE.key)
KEYS = [f"2013-0{month}-01" for month in range(1, 7)]
FIRST, LAST = dt.datetime.fromisoformat("2012-12-30"), dt.datetime.fromisoformat("2013-08-02")
TIMES = st.none() | st.datetimes(FIRST, LAST, timezones=st.just(dt.UTC))


def written(folder, *files):
    for rows in files:
        write_deltalake(folder, rows, mode="append")
    return Table(str(folder))


def of_times(*files):
    return [pa.table({"at": pa.array(times, pa.timestamp("us", "UTC"))}) for times in files]


def divided(table, partitions, keys):
    types = {column.name: str(column.type) for column in table.schema}
    return divide_rows(table, partitions.table_partitions(keys, types, "test"))


@settings(max_examples=25)
@given(files=st.lists(st.lists(TIMES, min_size=1, max_size=20), min_size=1, max_size=4))
def test_a_row_counts_in_the_month_in_which_its_time_lies_where_the_partitions_are_declared(files, tmp_path_factory):
    table = written(tmp_path_factory.mktemp("t"), *of_times(*files))
    found = divided(table, MONTHS, KEYS)
    times = [time for file in files for time in file]
    local = [time and f"{time.astimezone(ZONE):%Y-%m-01}" for time in times]
    assert {key: rows.rows for key, rows in found.partitions.items()} == {key: local.count(key) for key in KEYS}
    assert found.outside == sum(month not in KEYS for month in local)


def test_parts_of_one_month_are_counted_without_being_read(tmp_path, monkeypatch):
    """Their bounds lie in the window: only a part of two months is read."""
    january, both = (
        [dt.datetime(2013, 1, 9, tzinfo=dt.UTC)] * 3,
        [dt.datetime(2013, m, 9, tzinfo=dt.UTC) for m in (2, 3)],
    )
    table = written(tmp_path, *of_times(january, both))
    read = []
    real = partition_rows.read_file
    monkeypatch.setattr(partition_rows, "read_file", lambda file, *rest: read.append(file.path) or real(file, *rest))
    found = divided(table, MONTHS, KEYS)
    assert [found.partitions[key].rows for key in KEYS] == [3, 1, 1, 0, 0, 0]
    assert len(read) == 1


def test_deleted_rows_count_nowhere(tmp_path):
    at = [dt.datetime(2013, 1, day, tzinfo=dt.UTC) for day in (5, 6, 7)]
    write_deltalake(tmp_path, pa.table({"id": [1, 2, 3], "at": pa.array(at, pa.timestamp("us", "UTC"))}))
    DeltaTable(tmp_path).delete("id = 2")
    found = divided(Table(str(tmp_path)), MONTHS, KEYS)
    assert (found.partitions["2013-01-01"].rows, found.outside) == (2, 0)


def test_a_partitions_version_changes_with_the_parts_that_may_hold_its_rows(tmp_path):
    january, march = ([dt.datetime(2013, month, 9, tzinfo=dt.UTC)] for month in (1, 3))
    before = divided(written(tmp_path, *of_times(january)), MONTHS, KEYS)
    after = divided(written(tmp_path, *of_times(march)), MONTHS, KEYS)
    changed = [key for key in KEYS if before.partitions[key].data_version != after.partitions[key].data_version]
    assert changed == ["2013-03-01"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["EWR", "JFK", None, "JFK", "LGA"], pa.string()),
        ([1, 2, None, 2, 3], pa.int32()),
        ([dt.date(2013, 1, day) if day else None for day in (1, 2, 0, 2, 3)], pa.date32()),
    ],
)
def test_rows_are_divided_by_the_values_of_a_column(tmp_path, values, kind):
    table = written(tmp_path, pa.table({"x": pa.array(values, kind)}))
    assert count_values(table, "x") == {None if v is None else str(v): values.count(v) for v in values}
    found = divided(table, StaticPartitions(column="x", values=values[:2]), [str(value) for value in values[:2]])
    assert [rows.rows for rows in found.partitions.values()] == [1, 2]
    assert found.outside == 2  # a null, and a value that is no partition


def test_a_value_that_the_column_cannot_hold_has_no_rows(tmp_path):
    table = written(tmp_path, pa.table({"x": pa.array([1, 2], pa.int8())}))
    found = divided(table, StaticPartitions(column="x", values=[2, 300]), ["2", "300"])
    assert ([rows.rows for rows in found.partitions.values()], found.outside) == ([1, 0], 1)


def test_a_part_of_long_texts_is_read(tmp_path):
    """Long texts are cut in bounds, which are then no values: such a part is read."""
    long = "x" * 200
    pq.write_table(pa.table({"x": [long + "1", long + "2"]}), tmp_path / "a.parquet")
    found = divided(Table(str(tmp_path)), StaticPartitions(column="x", values=[long]), [long])
    assert (found.partitions[long].rows, found.outside) == (0, 2)


def test_a_column_of_another_type_is_refused_with_the_way_out(tmp_path):
    table = written(tmp_path, pa.table({"at": ["2013-01-01"]}))
    with pytest.raises(InputSchemaError, match=r"'at' has type string; it must be a timestamp, or a date.*by: static"):
        divided(table, MONTHS, KEYS)


def test_rows_that_a_table_deletes_change_the_version_of_their_partition(tmp_path):
    """A deletion vector leaves the file as it is."""
    times = [dt.datetime(2013, 1, day, tzinfo=dt.UTC) for day in (5, 6, 7)]
    (rows,) = of_times(times)
    versions = []
    for number, gone in enumerate([set(), {1}, {2}]):
        folder = tmp_path / f"{number}"
        action = put_file(folder, "a.parquet", rows) | ({"deletionVector": inline_vector(gone)} if gone else {})
        write_log(folder, [column("at", "timestamp")], [action], features=["deletionVectors"])
        found = divided(Table(str(folder)), MONTHS, KEYS)
        assert found.partitions["2013-01-01"].rows == 3 - len(gone)
        versions.append(found.partitions["2013-01-01"].data_version)
    assert len(set(versions)) == 3


def test_a_renamed_column_is_not_taken_for_the_one_that_had_its_name(tmp_path):
    """`at` was renamed to `old`, and a new column has the name `at` now."""
    old, new = ([dt.datetime(2013, month, day, tzinfo=dt.UTC) for day in (5, 6, 7)] for month in (1, 3))
    stored = pa.table(
        {"at": pa.array(old, pa.timestamp("us", "UTC")), "col-2": pa.array(new, pa.timestamp("us", "UTC"))}
    )
    names = {"old": ("at", 1), "at": ("col-2", 2)}
    columns = [
        column(name, "timestamp", **{"delta.columnMapping.physicalName": physical, "delta.columnMapping.id": number})
        for name, (physical, number) in names.items()
    ]
    properties = {"delta.columnMapping.mode": "name"}
    write_log(
        tmp_path, columns, [put_file(tmp_path, "a.parquet", stored)], features=["columnMapping"], properties=properties
    )
    found = divided(Table(str(tmp_path)), MONTHS, KEYS)
    assert [found.partitions[key].rows for key in KEYS] == [0, 0, 3, 0, 0, 0]

"""Dates and times of CSV and JSON sources: those with a whole date come as Spark's own parser reads them, all others are malformed."""

import csv
import itertools
import json
import os

import pytest
from deltalake import DeltaTable
from pyspark.sql import functions as F  # noqa: N812  (its usual name)

from sparktorch_assets.spark.inputs.materialize import materialize_input
from sparktorch_assets.spark.inputs.sources import find_sources
from sparktorch_assets.tasks import InputTable

DATES = ["2013-01-02", "2013-1-2", "2013-01-2", "1500-03-01", "0001-01-01", "+2013-01-02", "-0044-03-15", "12013-01-02"]
TIMES = [
    "10",
    "10:00",
    "1:2",
    "10:00:00",
    "1:2:3",
    "10:00:00.1",
    "10:00:00.123456",
    "10:00:00.1234567891",
    "24:00",
    "23:59:60",
]
ZONES = [
    "",
    "Z",
    " Z",
    "z",
    "UTC",
    "GMT+01:00",
    "+01:00",
    "+1:0",
    "+01",
    "+0100",
    "-08:00",
    "+01:00:30",
    "+19:00",
    " CET",
    " Europe/Paris",
]
WHOLE = [
    *DATES,
    *(f"{date}{zone}" for date in DATES[:2] for zone in ZONES),
    *(f"{date}{t}{time}{zone}" for date, t, time, zone in itertools.product(DATES, " T", TIMES, ZONES)),
    *("2013-02-30", " 2013-01-02 ", "13-01-02", "2013-01-02x", "2013/01/02", "epoch", "now", "2013-W01", "x", "2013-01-02t10:00"),
]  # fmt: skip
NO_DATE = ["10:00", "T10:00", "10:00:00.5Z", "2013", "2013-01", "20130102", "12013"]


def things(kind, file_format="csv", **changes):
    given = {"columns": {"id": "int", "at": kind}, "max_rejected_share": 1.0, **changes}
    return InputTable(name="things", source="in", format=file_format, **given)


def write(folder, values, file_format):
    (folder / "in").mkdir(exist_ok=True)
    with (folder / "in" / f"a.{file_format}").open("w", newline="") as file:
        for row in enumerate(values):
            if file_format == "csv":
                csv.writer(file).writerow(row)
            else:
                file.write(json.dumps({"id": row[0], "at": row[1]}) + "\n")


def read(spark, folder, table):
    """The values by id, and the malformed records."""
    report = materialize_input(spark, table, project_root=folder, table_uri=str(folder / "lake"))
    # Python has no years beyond 9999: numbers of microseconds, or of days.
    number = F.unix_micros if dict(table.typed_columns)["at"] == "timestamp" else F.unix_date
    rows = spark.read.parquet(*DeltaTable(report.uri).file_uris()).select("id", number("at")).collect()
    rejected = (
        DeltaTable(report.rejected_table).to_pyarrow_table()["record"].to_pylist() if report.rejected_table else []
    )
    return dict(map(tuple, rows)), rejected


@pytest.mark.parametrize("file_format", ["csv", "json"])
def test_whole_times_are_read_as_spark_reads_them(spark, tmp_path, file_format):
    """Each of 2,400 spellings is accepted or not as by Spark's default parser, with the same instant."""
    write(tmp_path, WHOLE, file_format)
    by_spark = (
        spark.read.schema("id int, at timestamp, bad string")
        .option("columnNameOfCorruptRecord", "bad")
        .format(file_format)
        .load(str(tmp_path / "in"))
        .select("id", F.unix_micros("at"), "bad")
    )
    expected = {row[0]: row[1] for row in by_spark.collect() if row[2] is None}
    assert 600 < len(expected) < len(WHOLE)
    found, rejected = read(spark, tmp_path, things("timestamp", file_format))
    assert found == expected
    assert len(rejected) == len(WHOLE) - len(expected)


@pytest.mark.promise("T92")
@pytest.mark.parametrize("file_format", ["csv", "json"])
def test_times_without_a_date_are_malformed(spark, tmp_path, file_format):
    """Neither the day of the refresh nor 1 January is made up; the rejected record shows the value as it was."""
    write(tmp_path, [*NO_DATE, "2013-01-02 10:00"], file_format)
    found, rejected = read(spark, tmp_path, things("timestamp", file_format))
    assert found == {len(NO_DATE): 1357120800000000}
    expected = [f"{i},{v}" if file_format == "csv" else f'{{"id":{i},"at":"{v}"}}' for i, v in enumerate(NO_DATE)]
    assert sorted(text.replace(" ", "") for text in rejected) == sorted(expected)


@pytest.mark.promise("T92")
@pytest.mark.parametrize("file_format", ["csv", "json"])
def test_dates_lose_nothing(spark, tmp_path, file_format):
    """What is no date, or more than one, is malformed; midnight is nothing that could be lost."""
    good = ["2013-01-02", "2013-1-2", " 2013-01-02 ", "2013-01-02 00:00:00", "2013-01-02T00:00:00.000Z", "12013-01-02"]
    bad = [
        *NO_DATE,
        "2013-01-02 10:00:00",
        "2013-01-02T00:00:01",
        "2013-01-02 x",
        "2013-02-30",
        "2013-01-02 00:00+05:00",
    ]
    write(tmp_path, [*good, *bad], file_format)
    found, rejected = read(spark, tmp_path, things("date", file_format))
    assert found == {i: 15707 if i < 5 else 3668132 for i in range(len(good))}
    assert len(rejected) == len(bad)


def test_numbers_in_json_count_seconds(spark, tmp_path):
    """As Spark has it, unlike text of the same digits; a number that no instant can have is malformed, and so is the rest."""
    write(tmp_path, [0, 86400, 2013, -5, None, "2013", 9223372036855, 2**63, 1.5, True, {"a": 1}, [1], ""], "json")
    found, rejected = read(spark, tmp_path, things("timestamp", "json"))
    assert found == {0: 0, 1: 86_400_000_000, 2: 2_013_000_000, 3: -5_000_000, 4: None}
    assert len(rejected) == 8


def test_a_declared_format_and_zone_hold(spark, tmp_path):
    """A table that says what its times look like is taken at its word; a zone without an offset is the declared one."""
    write(tmp_path, ["2013/07/01 02", "2013-07-01 02:00"], "csv")
    found, _ = read(spark, tmp_path, things("timestamp", options={"timestampFormat": "yyyy/MM/dd HH"}))
    assert found == {0: 1372644000000000}
    found, _ = read(spark, tmp_path, things("timestamp", options={"timeZone": "America/New_York"}))
    assert found == {1: 1372658400000000}


def test_a_record_is_rejected_once_and_whole(spark, tmp_path):
    """Two bad values of one record, quotes, separators and nulls beside them: one rejected record that reads the same."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text('1;10:00;2013;"say ""x""; y";;1.5\n2;2013-01-01;2013-01-01;a;b;c\n')
    columns = {"id": "int", "at": "timestamp", "on": "date", "a": "binary", "b": "string", "x": "double"}
    _, rejected = read(spark, tmp_path, things("", columns=columns, options={"sep": ";"}))
    rows = {tuple(row) for row in csv.reader(rejected, delimiter=";")}
    assert rows == {("1", "10:00", "2013", 'say "x"; y', "", "1.5"), ("2", "2013-01-01", "2013-01-01", "a", "b", "c")}


def test_only_such_tables_are_read_anew(tmp_path):
    """Names of parts hang on the rule only where it can change a row; those given here were made before there was one."""
    (tmp_path / "in").mkdir()
    for name in ("a.json", "a.parquet", "a.csv"):
        (tmp_path / "in" / name).write_text("")
        os.utime(tmp_path / "in" / name, (0, 0))

    def part(file_format, columns, **options):
        table = InputTable(name="t", source=f"in/a.{file_format}", format=file_format, columns=columns, options=options)
        return find_sources(table, tmp_path)[0].fingerprint

    plain, timed = {"id": "int"}, {"id": "int", "at": "timestamp", "on": "date"}
    formats = {"timestampFormat": "y", "dateFormat": "y"}
    assert part("json", timed) != "13d0468112ef1e005dfb19803a0b8fdf"
    assert part("csv", plain) != "ce0594c9ff5093313e22d17d1fe8951f"
    assert {
        "json": part("json", plain),
        "json, formats": part("json", timed, **formats),
        "parquet": part("parquet", timed),
        "csv, escape": part("csv", plain, escape='"'),
        "csv, no quotes": part("csv", plain, quote=""),
    } == {
        "json": "32881a3a50b0a708c1388d962b9bbbb5",
        "json, formats": "305fb4f85718ece3f5cf486c88d75554",
        "parquet": "a11c20a4e79bac0e2c484222f5a9f584",
        "csv, escape": "62d2ba3e6dbd8008ac3321056402d877",
        "csv, no quotes": "d7d0295a421d175b14bc468375cf794e",
    }

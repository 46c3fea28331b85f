"""Input tables: typed, incremental by source file, malformed rows kept apart and counted, every error named."""

import datetime as dt
import gzip
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from sparktorch_assets.errors import InputSchemaError, RowsVanishedError, TableError, TaskError
from sparktorch_assets.spark.inputs.materialize import materialize_input
from sparktorch_assets.tasks import InputTable

COLUMNS = {"id": "int", "name": "string", "x": "double", "at": "timestamp"}
HEADER = "id,name,x,at\n"


def csv_table(**changes):
    given = {"source": ["in/*.csv"], "options": {"header": True, "nullValue": "NA"}, "columns": COLUMNS, **changes}
    return InputTable(name="things", format=given.pop("format", "csv"), **given)


def csv_rows(start, count):
    return "".join(f"{i},n{i},{i}.5,2024-01-01T00:00:0{i % 10}Z\n" for i in range(start, start + count))


def never():
    pytest.fail("Spark was asked for, though there is nothing to read")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path


@pytest.fixture
def refresh(folder):
    def run(spark, table=None, **arguments):
        return materialize_input(
            spark, table or csv_table(), project_root=folder, table_uri=str(folder / "lake" / "things"), **arguments
        )

    return run


def rows_of(report):
    return sorted(DeltaTable(report.uri).to_pyarrow_table().to_pylist(), key=lambda row: row["id"])


def rejected_of(report):
    found = DeltaTable(report.rejected_table).to_pyarrow_table().to_pylist()
    return sorted((row["source"], row["record"]) for row in found)


@pytest.mark.promise("T1")
def test_types_nulls_and_order(spark, folder, refresh):
    """Declared types arrive, NA is null, instants are UTC, and a file's rows keep their order."""
    (folder / "in" / "a.csv").write_text(f"{HEADER}7,,NA,2024-01-01T02:00:00+02:00\n3,ü,1e3,2024-01-01 00:00:01\n")
    report = refresh(spark)
    found = DeltaTable(report.uri).to_pyarrow_table().to_pylist()
    midnight = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    assert found == [
        {"id": 7, "name": None, "x": None, "at": midnight},
        {"id": 3, "name": "ü", "x": 1000.0, "at": midnight + dt.timedelta(seconds=1)},
    ]
    assert (report.version, report.changed, report.rows, report.rejected_rows, report.files_new) == (0, True, 2, 0, 1)
    assert report.rejected_table is None
    assert pa.schema(DeltaTable(report.uri).schema().to_arrow()).field("at").type == pa.timestamp("us", tz="UTC")
    # Spark, too, reads what it sees in the folder: no staging files, no leftovers.
    assert {path.suffix for path in (folder / "lake" / "things").iterdir()} == {"", ".parquet"}


def test_a_refresh_touches_only_what_changed(spark, folder, refresh):
    """Unchanged: no Spark, no version. New, changed, removed files: their rows alone, in one commit; parts stay put."""
    for name, start in (("a", 0), ("b", 10), ("ç d", 20)):
        (folder / "in" / f"{name}.csv").write_text(HEADER + csv_rows(start, 10))
    first = refresh(lambda: spark)
    parts = {path: Path(path).stat().st_mtime_ns for path in DeltaTable(first.uri).file_uris()}
    again = refresh(never)
    assert (again.changed, again.version, again.data_version) == (False, 0, first.data_version)
    assert (again.rows, again.files_new, again.files_unchanged) == (30, 0, 3)

    (folder / "in" / "b.csv").write_text(HEADER + csv_rows(40, 5))
    (folder / "in" / "ç d.csv").unlink()
    with gzip.open(folder / "in" / "e.csv.gz", "wt") as file:
        file.write(HEADER + csv_rows(60, 3))
    table = csv_table(source=["in/*.csv*"])
    second = refresh(lambda: spark, table)
    assert (second.version, second.files_new, second.files_unchanged, second.files_removed) == (1, 2, 1, 2)
    assert [row["id"] for row in rows_of(second)] == [*range(10), *range(40, 45), *range(60, 63)]
    now = {path: Path(path).stat().st_mtime_ns for path in DeltaTable(second.uri).file_uris()}
    assert len(now.items() & parts.items()) == 1

    (folder / "in" / "e.csv.gz").unlink()
    third = refresh(never, table)  # only a removal: no Spark
    assert (third.changed, third.version, third.rows, third.files_removed) == (True, 2, 15, 1)
    assert third.data_version not in {first.data_version, second.data_version}


def test_new_reading_options_read_everything_again(spark, folder, refresh):
    """Types and options are part of what a part is named after; the new schema replaces the old one."""
    (folder / "in" / "a.csv").write_text(HEADER + csv_rows(0, 4))
    refresh(spark)
    report = refresh(spark, csv_table(columns={**COLUMNS, "id": "string"}))
    assert (report.version, report.files_new, report.rows) == (1, 1, 4)
    assert [row["id"] for row in rows_of(report)] == ["0", "1", "2", "3"]
    assert (
        refresh(never, csv_table(columns={**COLUMNS, "id": "string"}, description="changes nothing")).changed is False
    )


@pytest.mark.promise("T97")
def test_malformed_rows_go_to_a_table_of_their_own(spark, folder, refresh):
    """Wrong types, too few and too many fields: kept as they stand with their file, counted, and gone with their file."""
    bad = ["x1,n,1,2024-01-01T00:00:00Z", "5,n", "6,n,1,2024-01-01T00:00:00Z,extra", "7,n,abc,NA"]
    (folder / "in" / "a.csv").write_text(HEADER + csv_rows(0, 50) + "\n".join(bad[:3]) + "\n")
    (folder / "in" / "b ü.csv").write_text(HEADER + csv_rows(50, 50) + bad[3] + "\n")
    (folder / "in" / "c.csv").write_text(HEADER + csv_rows(100, 50))
    table = csv_table(max_rejected_share=0.05)
    report = refresh(spark, table)
    assert (report.rows, report.rejected_rows) == (150, 4)
    assert rejected_of(report) == sorted([("in/a.csv", row) for row in bad[:3]] + [("in/b ü.csv", bad[3])])
    assert refresh(never, table).rejected_rows == 4
    (folder / "in" / "a.csv").unlink()
    report = refresh(never, table)
    assert (report.rows, report.rejected_rows, rejected_of(report)) == (100, 1, [("in/b ü.csv", bad[3])])
    (folder / "in" / "d.csv").write_text(HEADER + csv_rows(150, 9) + "bad\n")
    report = refresh(spark, table)
    assert (report.rows, report.rejected_rows, len(rejected_of(report))) == (109, 2, 2)


def test_too_many_malformed_rows_change_nothing(spark, folder, refresh):
    """The share counts over the whole table; the message names files and counts, and never a row's contents."""
    (folder / "in" / "a.csv").write_text(HEADER + csv_rows(0, 98))
    refresh(spark)
    (folder / "in" / "b.csv").write_text(HEADER + "secret,n,1,NA\nsecret,n,1,NA\n")
    with pytest.raises(
        TableError,
        match=r"2 of 100 rows \(2\.00%\).*max_rejected_share=0\.01.*2 in in/b\.csv.*things__rejected then holds",
    ) as error:
        refresh(spark)
    assert "secret" not in str(error.value)
    assert DeltaTable(str(folder / "lake" / "things")).version() == 0
    assert not (folder / "lake" / "things__rejected" / "_delta_log").exists()
    assert not list((folder / "lake" / "things").glob("_staging*"))
    assert refresh(spark, csv_table(max_rejected_share=0.02)).rejected_rows == 2


def test_a_crash_between_the_two_commits_is_mended(spark, folder, refresh, monkeypatch):
    """The rejected table is committed first; the next run reads the file again and ends with the same rows, once."""
    from sparktorch_assets.spark.inputs import materialize as input_tables

    (folder / "in" / "a.csv").write_text(HEADER + csv_rows(0, 5) + "bad\n")
    table, real = csv_table(max_rejected_share=0.5), input_tables.commit_parts

    def dies(uri, *arguments, **named):
        if uri.endswith("__rejected"):
            return real(uri, *arguments, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(input_tables, "commit_parts", dies)
    with pytest.raises(KeyboardInterrupt):
        refresh(spark, table)
    monkeypatch.undo()
    report = refresh(spark, table)
    assert (report.version, report.rows, report.rejected_rows, len(rejected_of(report))) == (0, 5, 1, 1)


def test_files_without_rows_are_known_too(spark, folder, refresh):
    """A header alone, no byte at all, or malformed rows alone: read once, not at every refresh."""
    (folder / "in" / "full.csv").write_text(HEADER + csv_rows(0, 3))
    (folder / "in" / "header.csv").write_text(HEADER)
    (folder / "in" / "empty.csv").write_text("")
    (folder / "in" / "bad.csv").write_text(HEADER + "bad\n")
    table = csv_table(max_rejected_share=0.5)
    assert (refresh(spark, table).rows, refresh(never, table).files_unchanged) == (3, 4)


@pytest.mark.parametrize("now", [HEADER, HEADER + csv_rows(0, 3)])
def test_sources_that_were_emptied_do_not_empty_the_table(spark, folder, refresh, now):
    """A file that shrank to its header or to a few rows is refused, again and again, until the declaration allows it."""
    for name in ("a", "b"):
        (folder / "in" / f"{name}.csv").write_text(HEADER + csv_rows(0, 10))
    before = refresh(spark)
    (folder / "in" / "a.csv").write_text(now)
    (folder / "in" / "b.csv").write_text(now)
    for _ in range(2):
        with pytest.raises(
            RowsVanishedError, match=r"of 20 rows \(\d+\.00%\) would leave.*max_vanished_share=0.5.*header"
        ):
            refresh(spark)
    assert DeltaTable(before.uri).version() == before.version
    allowed = refresh(spark, csv_table(max_vanished_share=1.0))
    assert (allowed.rows_before, allowed.rows) == (20, 2 * now.count("Z"))


def test_up_to_half_of_the_rows_may_go(folder, refresh, spark):
    for name in ("a", "b", "c"):
        (folder / "in" / f"{name}.csv").write_text(HEADER + csv_rows(0, 10))
    refresh(spark)
    (folder / "in" / "a.csv").unlink()
    assert refresh(never).rows == 20, "a third of the rows may go"
    (folder / "in" / "b.csv").unlink()
    assert refresh(never).rows == 10, "half of the rows may go"


def test_json_lines(spark, folder, refresh):
    """Missing keys are null, unknown keys are left out, a wrong type or broken line is malformed."""
    good = ['{"id": 1, "name": "a", "x": 2, "at": "2024-01-01T00:00:00Z"}', '{"id": 2, "unknown": 3}']
    bad = ['{"id": "x", "name": "b"}', '{"id": 3,']
    (folder / "in" / "a.jsonl").write_text("\n".join(good + bad) + "\n")
    table = csv_table(source="in", format="json", options=(), max_rejected_share=0.5)
    report = refresh(spark, table)
    assert [(row["id"], row["name"], row["x"]) for row in rows_of(report)] == [(1, "a", 2.0), (2, None, None)]
    assert [record for _, record in rejected_of(report)] == sorted(bad)


def test_parquet(spark, folder, refresh):
    """Declared columns are read, narrower types widen, row groups are small enough to cut shards by."""
    rows = 300_000
    pq.write_table(
        pa.table({
            "id": pa.array(range(rows), pa.int16() if rows < 30_000 else pa.int32()),
            "x": pa.array([0.5] * rows, pa.float32()),
            "more": pa.array(["m"] * rows),
            "at": pa.array([0] * rows, pa.timestamp("ms", tz="UTC")),
            "name": pa.array(["a"] * rows).dictionary_encode(),
        }),
        folder / "in" / "a[1].parquet",
    )  # fmt: skip
    table = csv_table(source=["in/a[1].parquet"], format="parquet", options=(), columns={**COLUMNS, "id": "long"})
    report = refresh(spark, table)
    (path,) = DeltaTable(report.uri).file_uris()
    footer = pq.read_metadata(path)
    groups = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
    assert sum(groups) == report.rows == rows
    assert max(groups) <= 131_072
    assert pq.read_table(path, columns=["id"]).column("id").to_pylist() == list(range(rows))
    assert refresh(never, table).changed is False


@pytest.mark.promise("T98")
@pytest.mark.parametrize("file_format", ["csv", "json"])
def test_numbers_beyond_their_range(spark, folder, refresh, file_format):
    """Infinite where the type has infinity, malformed where it has none."""
    values = {"f": "1e39", "d": "-1e400", "b": "128", "i": str(2**31), "l": str(2**63)}
    columns = {"f": "float", "d": "double", "b": "byte", "i": "int", "l": "long"}
    with (folder / "in" / f"a.{file_format}").open("w") as file:
        for name, given in values.items():
            row = [value if name == column else "" for column, value in values.items()]
            file.write((",".join(row) if file_format == "csv" else f'{{"{name}": {given}}}') + "\n")
    table = csv_table(source="in", format=file_format, options=(), columns=columns, max_rejected_share=1)
    report = refresh(spark, table)
    found = DeltaTable(report.uri).to_pyarrow_table().to_pylist()
    assert [(row["f"], row["d"]) for row in found] == [(float("inf"), None), (None, float("-inf"))]
    assert report.rejected_rows == 3


@pytest.mark.promise("T98")
def test_bytes_of_json_keep_their_sign(spark, folder, refresh):
    """Jackson takes 255 for a byte, -1."""
    given = [-129, -128, 0, 127, 128, 255, 256]
    (folder / "in" / "a.json").write_text("".join(f'{{"b": {value}}}\n' for value in [*given, "null"]))
    report = refresh(
        spark, csv_table(source="in", format="json", options=(), columns={"b": "byte"}, max_rejected_share=1)
    )
    assert DeltaTable(report.uri).to_pyarrow_table()["b"].to_pylist() == [-128, 0, 127, None]
    assert report.rejected_rows == 4


LISTS = {"id": "int", "v": "list<float>", "n": "list<long>", "s": "list<string>"}
LIST_ROWS = [
    {"id": 1, "v": [1.0, 2.5], "n": [2**53 + 1], "s": ["ü", ""]},
    {"id": 2, "v": [], "n": [], "s": []},
    {"id": 3, "v": None, "n": None, "s": None},
    {"id": 4, "v": [None, 0.5], "n": [None, 3], "s": [None]},
]


def test_lists_from_json(spark, folder, refresh):
    """Nulls, empty lists and nulls inside stay apart; a list of another type, or no list at all, is malformed."""
    bad = ['{"id": 5, "v": ["x"]}', '{"id": 6, "v": 1.5}', '{"id": 7, "n": [1.5]}']
    good = [json.dumps(row) for row in LIST_ROWS]
    (folder / "in" / "a.jsonl").write_text("\n".join(good + bad) + "\n")
    table = csv_table(source="in", format="json", options=(), columns=LISTS, max_rejected_share=0.5)
    report = refresh(spark, table)
    assert rows_of(report) == LIST_ROWS
    assert [record for _, record in rejected_of(report)] == sorted(bad)
    assert refresh(never, table).changed is False


def test_lists_from_parquet(spark, folder, refresh):
    """Narrower items widen; without rows, the table has the same types."""
    table = csv_table(source="in", format="parquet", options=(), columns=LISTS)
    narrow = [{**row, "n": row["n"] and [7]} for row in LIST_ROWS]
    kinds = pa.schema(
        [
            ("id", pa.int32()),
            ("v", pa.list_(pa.float32())),
            ("n", pa.large_list(pa.int32())),
            ("s", pa.list_(pa.string())),
        ]
    )
    pq.write_table(pa.Table.from_pylist([], kinds), folder / "in" / "a.parquet")
    empty = DeltaTable(refresh(spark, table).uri).schema()
    pq.write_table(pa.Table.from_pylist(narrow, kinds), folder / "in" / "b.parquet")
    report = refresh(spark, table)
    assert rows_of(report) == narrow
    assert DeltaTable(report.uri).schema() == empty


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "id,nom,x,at\n",
            r"header of .*/in/a\.csv does not match.*missing: name; not declared: nom.*Found: id, nom.*Declared: id, name",
        ),
        ("id,x,name,at\n", "the order differs"),
        ("\ufeffid,name,x\n", "missing: at"),
    ],
)
def test_a_wrong_header_is_named(folder, refresh, content, message):
    """Spark would match by place and fill the wrong columns; no Spark is needed to see it."""
    (folder / "in" / "a.csv").write_text(content)
    with pytest.raises(InputSchemaError, match=message):
        refresh(never)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"x": "double"}, r"column 'x' of .*a\.parquet has type string, but is declared as double"),
        ({"y": "double"}, r"a\.parquet has no column 'y'; .*Known: id, v, x"),
        ({"id": "int"}, "has type int64, but is declared as int"),
        ({"v": "list<float>"}, "has type list<element: double>, but is declared as list<float>"),
        ({"v": "double"}, "has type list<element: double>, but is declared as double"),
    ],
)
def test_wrong_parquet_types_are_named(folder, refresh, columns, message):
    """Both types, from the footer alone."""
    pq.write_table(pa.table({"id": [1], "x": ["a"], "v": [[0.5]]}), folder / "in" / "a.parquet")
    with pytest.raises(InputSchemaError, match=message):
        refresh(never, csv_table(source=["in/*.parquet"], format="parquet", options=(), columns=columns))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("in/*.csv", r"'in/\*\.csv' matches no file: looked for .*/in/\*\.csv"),
        ("nowhere", "'nowhere' matches no file"),
        ("in", r"is the folder .*/in, where no file ends in \.csv.*it holds readme\.md"),
    ],
)
def test_a_source_that_matches_nothing_is_named(folder, refresh, source, message):
    """The pattern, and where it was looked for."""
    (folder / "in" / "readme.md").write_text("no data")
    with pytest.raises(TableError, match=message):
        refresh(never, csv_table(source=[source]))


def test_all_sources_gone_is_an_error_not_an_empty_table(spark, folder, refresh):
    """A mount that is missing must not empty the table."""
    (folder / "in" / "a.csv").write_text(HEADER + csv_rows(0, 2))
    refresh(spark)
    shutil.rmtree(folder / "in")
    with pytest.raises(TableError, match="matches no file"):
        refresh(never)
    assert DeltaTable(str(folder / "lake" / "things")).version() == 0


def test_a_broken_file_is_named(spark, folder, refresh):
    """A truncated gzip file: the file's name, and nothing committed."""
    content = gzip.compress((HEADER + csv_rows(0, 4000)).encode())
    (folder / "in" / "broken.csv.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(
        TableError, match=r"Spark cannot read the source files: .*broken\.csv\.gz.*Nothing was committed"
    ):
        refresh(spark, csv_table(source=["in/*.gz"]))
    assert not (folder / "lake" / "things" / "_delta_log").exists()


def test_options_that_would_hide_malformed_rows_are_refused(folder, refresh):
    """Dropping malformed rows silently is what this exists to prevent."""
    with pytest.raises(TaskError, match="option 'mode' cannot be set"):
        refresh(never, csv_table(options={"mode": "DROPMALFORMED"}))


def test_somebody_elses_table_is_left_alone(folder, refresh):
    """A Delta table at that place that this library did not write is not replaced."""
    from deltalake import write_deltalake

    (folder / "in" / "a.csv").write_text(HEADER + csv_rows(0, 2))
    write_deltalake(str(folder / "lake" / "things"), pa.table({"a": [1]}))
    with pytest.raises(TableError, match="was not written by this library.*Choose another name"):
        refresh(never)


def test_the_session_gets_its_settings_back(spark, folder, refresh):
    """A user's session zone holds for the user's own queries, before and after."""
    spark.conf.set("spark.sql.session.timeZone", "Asia/Kolkata")
    try:
        (folder / "in" / "a.csv").write_text(HEADER + "1,a,1,2024-01-01 00:00:00\n")
        assert rows_of(refresh(spark))[0]["at"] == dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
        assert spark.conf.get("spark.sql.session.timeZone") == "Asia/Kolkata"
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")


@pytest.mark.parametrize("values", [["1.0", "NaN", "9.0"], ["NaN", "1.0"], ["1.0", "NaN"], ["NaN"], ["1.0", "9.0"]])
def test_bounds_of_spark_s_files_hide_no_nan(spark, folder, refresh, values):
    """Spark's writer makes NaN the maximum, which is how its files tell that they hold one: no bounds then."""
    (folder / "in" / "a.csv").write_text("x\n" + "\n".join(values) + "\n")
    report = refresh(spark, csv_table(columns={"x": "double"}))
    add = pa.table(DeltaTable(report.uri).get_add_actions(flatten=True)).to_pylist()[0]
    if "NaN" in values:
        assert add.get("max.x") is add.get("min.x") is None
    else:
        assert (add["min.x"], add["max.x"]) == (1.0, 9.0)
    dataset = DeltaTable(report.uri).to_pyarrow_dataset()
    assert dataset.to_table(filter=pc.field("x") > 5).num_rows == sum(value == "9.0" for value in values)

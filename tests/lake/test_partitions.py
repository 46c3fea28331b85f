"""One partition at a time: its own rows and files, and nothing else, whoever works beside it."""

import ast
import datetime as dt
import decimal
import json
import os
import subprocess
import sys
from urllib.parse import quote

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from lake_scorer import conditions, pieces_of, rows_of

from sparktorch_assets.errors import CommitConflictError, InputSchemaError, TableError, TaskError
from sparktorch_assets.lake.commit_plan import commit_plan
from sparktorch_assets.lake.files.partition_values import parse_partition
from sparktorch_assets.lake.parts.writer import PartWriter
from sparktorch_assets.lake.plan import make_plan
from sparktorch_assets.lake.rows.piece_reader import PieceReader
from sparktorch_assets.lake.table import Table, table_version
from sparktorch_assets.lake.vacuum import vacuum
from sparktorch_assets.tally import Tally

ROWS = pa.table({"id": ["a", "b", "c", "d", "e"], "x": [1, 2, 3, 4, 5], "ds": ["1", "1", "2", "2", "3"]})


def plan(source, table, partition, weight=1, more=()):
    columns = Table(str(source)).schema
    chosen, where = parse_partition(partition, columns)
    schema = pa.schema([*columns, ("y", pa.int64()), *more])
    digest = json.dumps([weight, chosen, schema.names])
    return make_plan(
        Table(str(source)),
        Table(str(table)),
        schema=schema,
        digest=digest,
        target_rows=1,
        partition=chosen,
        tests=conditions(columns, where),
    ), where


def score(planned, weight=1, before_commit=lambda: None):
    refresh, where = planned
    parts = dict(refresh.resumed)
    folder = refresh.table.folder
    folder.create()
    for shard in refresh.new:
        read = pa.schema([column for column in refresh.schema if column.name in ("id", "x", "ds")])
        with (
            PieceReader(shard.pieces[0], read, conditions(read, where)) as reader,
            PartWriter(folder, shard.fingerprint, refresh.part_schema, partition=refresh.partition) as writer,
        ):
            for batch in reader.batches():
                keep = batch
                for test in where:
                    keep = keep.filter(pc.equal(keep[test.column], pa.scalar(test.value)))
                made = {"y": pc.multiply(keep["x"], weight), "z": keep["x"]}
                arrays = [keep[name] if name in read.names else made[name] for name in refresh.part_schema.names]
                writer.write(pa.RecordBatch.from_arrays(arrays, schema=refresh.part_schema))
            parts[shard.part_path] = writer.finish(Tally(rows=shard.rows, predicted=shard.rows))
    before_commit()
    return commit_plan(refresh, parts, lambda _: None, {})


@pytest.fixture(params=["column", "folders", "delta"])
def source(tmp_path, request):
    """The same rows, with `ds` as a plain column, in the folders' names, and as a Delta partition column."""
    folder = tmp_path / "source"
    if request.param == "column":
        folder.mkdir()
        pq.write_table(ROWS.slice(0, 3), folder / "one.parquet", row_group_size=1)
        pq.write_table(ROWS.slice(3), folder / "two.parquet", row_group_size=2)
    elif request.param == "folders":
        pq.write_to_dataset(ROWS, folder, partition_cols=["ds"])
    else:
        write_deltalake(str(folder), ROWS, partition_by=["ds"])
    return folder


def tree(table):
    return {str(path.relative_to(table)): path.read_bytes() for path in table.glob("ds=*/*")}


def expected(values, weight=1):
    return [(row["id"], row["x"], row["ds"], row["x"] * weight) for row in ROWS.to_pylist() if row["ds"] in values]


def found(table):
    rows = DeltaTable(str(table)).to_pyarrow_table().select(["id", "x", "ds", "y"]).to_pylist()
    return sorted(tuple(row.values()) for row in rows)


@pytest.mark.promise("T60")
def test_a_partition_takes_its_own_rows_and_touches_no_other(source, tmp_path):
    table = tmp_path / "table"
    for value in "12":
        score(plan(source, table, {"ds": value}))
    before = tree(table)
    assert found(table) == expected("12")
    assert {path.split("/")[0] for path in before} == {"ds=1", "ds=2"}
    assert "ds" not in pq.read_schema(table / next(iter(before))).names  # it stands in the path
    assert not plan(source, table, {"ds": "1"})[0].changes

    score(plan(source, table, {"ds": "2"}, weight=7), weight=7)
    assert found(table) == expected("1") + expected("2", weight=7)
    after = tree(table)
    assert {path: after[path] for path in before} == before  # byte for byte; vacuum takes the old ones, not the commit
    vacuum(str(table), retention_hours=0)
    assert found(table) == expected("1") + expected("2", weight=7)
    assert set(tree(table)) < set(after)


@pytest.mark.promise("T61")
def test_files_and_row_groups_of_other_partitions_are_not_planned(source, tmp_path):
    refresh = plan(source, tmp_path / "table", {"ds": "3"})[0]
    assert refresh.rows <= 2  # the row group that holds it, at most
    assert len(refresh.new) == 1


def test_a_partition_without_rows_becomes_empty(source, tmp_path):
    table = tmp_path / "table"
    score(plan(source, table, {"ds": "1"}))
    assert score(plan(source, table, {"ds": "9"})).changed is False
    assert found(table) == expected("1")


def test_an_interrupted_partition_is_resumed(source, tmp_path):
    table = tmp_path / "table"

    def dies():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(plan(source, table, {"ds": "1"}), before_commit=dies)
    again = plan(source, table, {"ds": "1"})
    assert (len(again[0].new), len(again[0].resumable) > 0) == (0, True)
    score(again)
    assert found(table) == expected("1")


@pytest.mark.promise("T19", "T65")
def test_two_partitions_at_once_both_go_through(source, tmp_path):
    """The loser of the race decides again: on the table's creation, and on later versions."""
    table = tmp_path / "table"
    mine = plan(source, table, {"ds": "1"})
    score(mine, before_commit=lambda: score(plan(source, table, {"ds": "2"})))
    assert (found(table), table_version(str(table))) == (expected("12"), 1)
    mine = plan(source, table, {"ds": "1"}, weight=3)
    score(mine, weight=3, before_commit=lambda: score(plan(source, table, {"ds": "3"}, weight=4), weight=4))
    assert found(table) == expected("1", weight=3) + expected("2") + expected("3", weight=4)


@pytest.mark.promise("T19")
def test_two_runs_on_one_partition_agree_or_one_is_refused(source, tmp_path):
    table = tmp_path / "table"
    mine = plan(source, table, {"ds": "1"})
    same = score(mine, before_commit=lambda: score(plan(source, table, {"ds": "1"})))
    assert same.changed is False
    mine = plan(source, table, {"ds": "1"}, weight=3)
    other = lambda: score(plan(source, table, {"ds": "1"}, weight=4), weight=4)  # noqa: E731
    with pytest.raises(CommitConflictError, match="in conflict with this plan"):
        score(mine, weight=3, before_commit=other)
    assert found(table) == expected("1", weight=4)


@pytest.mark.promise("T67")
def test_whole_tables_and_partitioned_ones_are_not_mixed(source, tmp_path):
    table, whole = tmp_path / "table", tmp_path / "whole"
    score(plan(source, table, {"ds": "1"}))
    score(plan(source, whole, None))
    with pytest.raises(TableError, match="is partitioned by ds, but this refresh covers the whole table at once"):
        plan(source, table, None)
    with pytest.raises(
        TableError,
        match="has no partitions, but this refresh covers partitions by ds.* delete the table's folder, or give the task another name",
    ):
        plan(source, whole, {"ds": "1"})
    late = plan(source, tmp_path / "late", None)
    with pytest.raises(TableError, match="is partitioned by ds"):
        score(late, before_commit=lambda: score(plan(source, tmp_path / "late", {"ds": "1"})))
    assert found(whole) == expected("123")


@pytest.mark.promise("T68")
def test_a_partition_may_add_columns_and_not_take_them_away(source, tmp_path):
    table = tmp_path / "table"
    for value in "12":
        score(plan(source, table, {"ds": value}))
    score(plan(source, table, {"ds": "2"}, more=[("z", pa.int64())]))
    assert found(table) == expected("12")
    assert {(row[2], row[-1]) for row in rows_of(table)} == {("1", None), ("2", 3), ("2", 4)}
    with pytest.raises(TableError, match="can only add columns"):
        score(plan(source, table, {"ds": "1"}))
    assert table_version(str(table)) == 2


@pytest.mark.promise("T62")
@pytest.mark.parametrize(
    ("kind", "value", "spelled", "typed"),
    [
        (pa.string(), "2013-01-01", "2013-01-01", "2013-01-01"),
        (pa.date32(), "2013-01-01", "2013-01-01", dt.date(2013, 1, 1)),
        (pa.int32(), "07", "7", 7),
        (pa.int64(), 7, "7", 7),
    ],
)
def test_a_partition_has_one_spelling(kind, value, spelled, typed):
    partition, (where,) = parse_partition({"ds": value}, pa.schema([("ds", kind)]))
    assert (partition, where.value) == ((("ds", spelled),), typed)


@pytest.mark.promise("T63", "T64")
@pytest.mark.parametrize(
    ("kind", "given", "error", "message"),
    [
        (pa.string(), {"day": "1"}, InputSchemaError, "no column 'day'.*Known: ds"),
        (pa.float64(), {"ds": "1"}, InputSchemaError, "has type double; partition by a string"),
        (pa.date32(), {"ds": "soon"}, TaskError, "'soon' is not a valid date32"),
        (pa.string(), {"ds": "x" * 253}, TaskError, "becomes a folder's name, percent-encoded, of more than 255 bytes"),
        (pa.string(), {"ds": "ü" * 127}, TaskError, "of more than 255 bytes"),
        (pa.string(), {"ds": ""}, TaskError, "readers of Delta tables read '' as a null"),
        (pa.string(), {"ds": "__HIVE_DEFAULT_PARTITION__"}, TaskError, "as a null; give these rows another value"),
        (pa.string(), {"ds": None}, TaskError, "a null cannot be refreshed as a partition"),
        (pa.string(), {"ds": "\ud800"}, TaskError, "is not a valid string"),
        (pa.int32(), {"ds": True}, TaskError, "True is not a valid int32"),
        (pa.timestamp("us"), {"ds": "2013-01-01"}, InputSchemaError, "partition by a string, a whole number or a date"),
    ],
)
def test_a_partition_that_cannot_be_is_named(kind, given, error, message):
    with pytest.raises(error, match=message):
        parse_partition(given, pa.schema([("ds", kind)]))


@pytest.mark.promise("T62")
@pytest.mark.parametrize(("kind", "values"), [(pa.date32(), [0, 1, 1]), (pa.int32(), [7, 8, 8])])
def test_typed_columns_partition_as_strings_do(tmp_path, kind, values):
    """Committed, found again unchanged, replaced: the log's typed values and the folder's text are the same to us."""
    source, table = tmp_path / "source", tmp_path / "table"
    source.mkdir()
    rows = pa.table({"id": list("abc"), "x": [1, 2, 3], "ds": pa.array(values, pa.int32()).cast(kind)})
    pq.write_table(rows, source / "one.parquet", row_group_size=1)
    for value in rows["ds"].unique().to_pylist():
        score(plan(source, table, {"ds": str(value)}))
        assert not plan(source, table, {"ds": str(value)})[0].changes
    last = {"ds": str(rows["ds"][2])}
    refresh, _ = plan(source, table, last, weight=5)
    assert (refresh.rows, len(refresh.new), len(refresh.obsolete)) == (2, 2, 2)  # the other row group is left out
    score(plan(source, table, last, weight=5), weight=5)
    assert found(table) == [(row["id"], row["x"], row["ds"], row["x"] * (5 if row["x"] > 1 else 1)) for row in rows.to_pylist()]  # fmt: skip


ODD = [
    "a b",
    "50%",
    "%20",
    "%2520",
    "#1",
    "a+b",
    "a=b",
    "ü€",
    "a/b",
    "..",
    "a'b",
    '"',
    "x\ny",
    "*",
    "05",
    "null",
    " ",
    "?",
    ":",
]


@pytest.mark.promise("T63")
@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("kind", ["column", "folders", "delta"])
def test_odd_values_are_partitions_like_any_other(tmp_path, value, kind):
    """Found in the input however it is laid out, committed, found again, replaced, widened, vacuumed, and read alike by
    everybody."""
    source, table = tmp_path / "source", tmp_path / "table"
    rows = pa.table({"id": ["a", "b", "c", "d"], "x": [1, 2, 3, 4], "ds": [value, value, "other", None]})
    if kind == "column":
        source.mkdir()
        pq.write_table(rows, source / "one.parquet", row_group_size=1)
    elif kind == "folders":
        pq.write_to_dataset(rows, source, partition_cols=["ds"])
    else:
        write_deltalake(str(source), rows, partition_by=["ds"])
    wanted = [("a", 1, value, 1), ("b", 2, value, 2)]
    assert Table(str(source)).preview(9) != []
    score(plan(source, table, {"ds": "other"}))
    score(plan(source, table, {"ds": value}))
    encoded = quote(value, safe="").replace(quote("ü€"), "ü€")
    assert {folder.name for folder in table.glob("ds=*")} == {f"ds={encoded}", "ds=other"}
    assert found(table) == sorted([*wanted, ("c", 3, "other", 3)])
    assert not plan(source, table, {"ds": value})[0].changes
    score(plan(source, table, {"ds": value}, weight=5), weight=5)
    score(plan(source, table, {"ds": value}, weight=5, more=[("z", pa.int64())]), weight=5)  # an overwrite
    score(plan(source, table, {"ds": value}, weight=6, more=[("z", pa.int64())]), weight=6)
    assert len(vacuum(str(table), retention_hours=0).files) >= 3
    wanted = sorted([("a", 1, value, 6), ("b", 2, value, 12), ("c", 3, "other", 3)])
    assert found(table) == wanted
    delta = DeltaTable(str(table))
    readers = {
        "pyarrow, filtered": delta.to_pyarrow_table(filters=[("ds", "=", value)]),
        "DataFusion": pa.table(
            QueryBuilder().register("t", delta).execute("select id, x, ds, y from t where ds <> 'other'")
        ),
        "polars": pl.scan_delta(str(table)).filter(pl.col("ds") == value).collect().to_arrow(),
        "DuckDB": duckdb.connect().from_arrow(delta.to_pyarrow_dataset()).filter("ds <> 'other'").to_arrow_table(),
    }
    for name, read in readers.items():
        assert sorted(tuple(row.values()) for row in read.select(["id", "x", "ds", "y"]).to_pylist()) == wanted[:2], (
            name
        )


@pytest.mark.promise("T120")
def test_duckdb_finds_the_partition_in_the_paths_if_it_is_told_to(tmp_path):
    source, table = tmp_path / "source", tmp_path / "table"
    source.mkdir()
    pq.write_table(ROWS, source / "one.parquet")
    for value in ("1", "2"):
        score(plan(source, table, {"ds": value}))
    files = DeltaTable(str(table)).file_uris()
    code = "import ast, duckdb, sys\nprint(duckdb.read_parquet(ast.literal_eval(sys.argv[1]), **ast.literal_eval(sys.argv[2])).columns)"
    for hive in (False, True):
        done = subprocess.run(
            [sys.executable, "-c", code, repr(files), repr({"hive_partitioning": hive})],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert ("ds" in ast.literal_eval(done.stdout)) is hive


def test_a_part_of_an_odd_partition_that_was_removed_lately_stays(tmp_path):
    """Readers of the version before may be at work, however old the part itself is."""
    source, table = tmp_path / "source", tmp_path / "table"
    source.mkdir()
    pq.write_table(pa.table({"id": ["a"], "x": [1], "ds": ["a b%"]}), source / "one.parquet")
    for weight in (1, 2):
        score(plan(source, table, {"ds": "a b%"}, weight=weight), weight=weight)
    for part in table.rglob("*.parquet"):
        os.utime(part, (0, 0))
    assert vacuum(str(table), retention_hours=1).files == ()
    assert len(vacuum(str(table), retention_hours=0).files) == 1


TYPED = {
    pa.int64(): [5, -1, None],
    pa.int8(): [5, 6, None],
    pa.date32(): [dt.date(2013, 1, 2), dt.date(1, 1, 1), None],
    pa.bool_(): [True, False, None],
    pa.float64(): [0.1, -2.5, None],
    pa.decimal128(5, 2): [decimal.Decimal("1.50"), decimal.Decimal("0.01"), None],
    pa.timestamp("us", "UTC"): [
        dt.datetime(2013, 1, 1, 1, 2, 3, 4, dt.UTC),
        dt.datetime(1013, 1, 1, tzinfo=dt.UTC),
        None,
    ],
    pa.timestamp("us"): [dt.datetime(2013, 1, 1, 1, 2, 3), dt.datetime(9999, 12, 31, 23, 59, 59, 999999), None],  # noqa: DTZ001
    pa.string(): ["a b", "ü/%", None],
}


@pytest.mark.parametrize("kind", TYPED)
def test_inputs_have_partitions_of_any_type(tmp_path, kind):
    """Nulls, times, fractions: what stands in the log comes back as the column's own values."""
    rows = pa.table({"x": [1, 2, 3], "ds": pa.array(TYPED[kind], kind)})
    write_deltalake(str(tmp_path), rows, partition_by=["ds"])
    columns = Table(str(tmp_path)).schema
    shards = make_plan(Table(str(tmp_path)), Table(str(tmp_path / "out")), schema=columns, digest="d").new
    read = []
    for piece in pieces_of(shards):
        with PieceReader(piece, columns) as reader:
            read += [row for batch in reader.batches() for row in batch.to_pylist()]
    assert sorted(read, key=lambda row: row["x"]) == rows.to_pylist()


@pytest.mark.promise("T41")
@pytest.mark.parametrize("inside", [False, True])
def test_a_folders_text_is_a_value_of_the_columns_type(tmp_path, inside):
    """`m=05` is the number 5 where files know that `m` is a number, and the text `05` where nobody does. The folder's value
    counts more than the file's, as in Spark."""
    source, table = tmp_path / "source", tmp_path / "table"
    for folder, x in (("m=05", 1), ("m=06", 2), ("m=__HIVE_DEFAULT_PARTITION__", 3)):
        (source / folder).mkdir(parents=True)
        rows = {"id": ["a"], "x": [x], **({"m": [99]} if inside else {})}
        pq.write_table(pa.table(rows), source / folder / "a.parquet")
    value = 5 if inside else "05"
    assert [row["m"] for row in Table(str(source)).preview(9)] == ([5, 6, None] if inside else ["05", "06", None])[:9]
    columns = Table(str(source)).schema
    partition, where = parse_partition({"m": "05"}, columns)
    assert (partition, where[0].value) == ((("m", str(value)),), value)
    (shard,) = make_plan(
        Table(str(source)),
        Table(str(table)),
        schema=columns,
        digest="d",
        partition=partition,
        tests=conditions(columns, where),
    ).new
    with PieceReader(shard.pieces[0], columns, conditions(columns, where)) as reader:
        assert [row["m"] for batch in reader.batches() for row in batch.to_pylist()] == [value]


def test_a_folder_that_is_no_value_of_the_columns_type_is_refused(tmp_path):
    (tmp_path / "m=x").mkdir()
    pq.write_table(pa.table({"x": [1], "m": [5]}), tmp_path / "m=x" / "a.parquet")
    with pytest.raises(TableError, match="the partition's value m=x is not a valid int64"):
        Table(str(tmp_path)).preview(1)
    columns = Table(str(tmp_path)).schema
    partition, where = parse_partition({"m": 5}, columns)
    with pytest.raises(InputSchemaError, match="'m=x' has no value of type int64, the type of column 'm'"):
        make_plan(
            Table(str(tmp_path)),
            Table(str(tmp_path / "t")),
            schema=columns,
            digest="d",
            partition=partition,
            tests=conditions(columns, where),
        )


def test_files_of_different_partition_columns_are_refused(tmp_path):
    for folder in ("m=1", "n=1"):
        (tmp_path / folder).mkdir()
        pq.write_table(pa.table({"x": [1]}), tmp_path / folder / "a.parquet")
    with pytest.raises(TableError, match=r"different partition columns \('m=1/a.parquet' and 'n=1/a.parquet'\)"):
        Table(str(tmp_path)).schema


def test_binary_partitions_are_refused(tmp_path):
    write_deltalake(str(tmp_path), pa.table({"x": [1], "ds": [b"a"]}), partition_by=["ds"])
    with pytest.raises(TableError, match="partitioned by 'ds', which is binary"):
        Table(str(tmp_path)).row_count()

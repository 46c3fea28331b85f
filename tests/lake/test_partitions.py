"""One partition at a time: its own rows and files, and nothing else, whoever works beside it."""

import datetime as dt
import json

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from lake_scorer import rows_of

from sparktorch_assets.errors import CommitConflictError, InputSchemaError, TableError, TaskError
from sparktorch_assets.lake.folder import Folder
from sparktorch_assets.lake.part_writer import PartWriter
from sparktorch_assets.lake.partition import read_partition
from sparktorch_assets.lake.plan import make_plan
from sparktorch_assets.lake.refresh import commit_plan
from sparktorch_assets.lake.shard_reader import ShardReader
from sparktorch_assets.lake.tables import table_schema, table_version
from sparktorch_assets.lake.vacuum import vacuum
from sparktorch_assets.tally import Tally

ROWS = pa.table({"id": ["a", "b", "c", "d", "e"], "x": [1, 2, 3, 4, 5], "ds": ["1", "1", "2", "2", "3"]})


def plan(source, table, partition, weight=1, more=()):
    columns = table_schema(str(source))
    chosen, where = read_partition(partition, columns)
    schema = pa.schema([*columns, ("y", pa.int64()), *more])
    digest = json.dumps([weight, chosen, schema.names])
    return make_plan(
        str(source), str(table), schema=schema, digest=digest, target_rows=1, partition=chosen, where=where
    ), where


def score(planned, weight=1, before_commit=lambda: None):
    refresh, where = planned
    parts = dict(refresh.resumed)
    folder = Folder(refresh.output_table)
    folder.create()
    for shard in refresh.new:
        read = pa.schema([column for column in refresh.schema if column.name in ("id", "x", "ds")])
        with (
            ShardReader(shard, read, where) as reader,
            PartWriter(folder, shard.fingerprint, refresh.part_schema, partition=refresh.partition) as writer,
        ):
            for batch in reader.batches():
                keep = batch
                for test in where:
                    keep = keep.filter(pc.equal(keep[test.column], pa.scalar(test.value)))
                made = {"y": pc.multiply(keep["x"], weight), "z": keep["x"]}
                arrays = [keep[name] if name in read.names else made[name] for name in refresh.part_schema.names]
                writer.write(pa.RecordBatch.from_arrays(arrays, schema=refresh.part_schema))
            parts[shard.part_path] = writer.finish(Tally(rows=shard.rows))
    before_commit()
    return commit_plan(refresh, {path: part for path, (part, _) in parts.items()}, lambda *_: {})


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


def test_two_partitions_at_once_both_go_through(source, tmp_path):
    """The loser of the race decides again: on the table's creation, and on later versions."""
    table = tmp_path / "table"
    mine = plan(source, table, {"ds": "1"})
    score(mine, before_commit=lambda: score(plan(source, table, {"ds": "2"})))
    assert (found(table), table_version(str(table))) == (expected("12"), 1)
    mine = plan(source, table, {"ds": "1"}, weight=3)
    score(mine, weight=3, before_commit=lambda: score(plan(source, table, {"ds": "3"}, weight=4), weight=4))
    assert found(table) == expected("1", weight=3) + expected("2") + expected("3", weight=4)


def test_two_runs_on_one_partition_agree_or_one_is_refused(source, tmp_path):
    table = tmp_path / "table"
    mine = plan(source, table, {"ds": "1"})
    same = score(mine, before_commit=lambda: score(plan(source, table, {"ds": "1"})))
    assert same.changed is False
    mine = plan(source, table, {"ds": "1"}, weight=3)
    other = lambda: score(plan(source, table, {"ds": "1"}, weight=4), weight=4)  # noqa: E731
    with pytest.raises(CommitConflictError, match="against what this one planned"):
        score(mine, weight=3, before_commit=other)
    assert found(table) == expected("1", weight=4)


def test_whole_tables_and_partitioned_ones_are_not_mixed(source, tmp_path):
    table, whole = tmp_path / "table", tmp_path / "whole"
    score(plan(source, table, {"ds": "1"}))
    score(plan(source, whole, None))
    with pytest.raises(TableError, match="is partitioned by ds, and this refresh is of the whole table at once"):
        plan(source, table, None)
    with pytest.raises(TableError, match="has no partitions, and this refresh is of partition by ds"):
        plan(source, whole, {"ds": "1"})
    late = plan(source, tmp_path / "late", None)
    with pytest.raises(TableError, match="is partitioned by ds"):
        score(late, before_commit=lambda: score(plan(source, tmp_path / "late", {"ds": "1"})))
    assert found(whole) == expected("123")


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
    partition, (where,) = read_partition({"ds": value}, pa.schema([("ds", kind)]))
    assert (partition, where.value) == ((("ds", spelled),), typed)


@pytest.mark.parametrize(
    ("kind", "given", "error", "message"),
    [
        (pa.string(), {"day": "1"}, InputSchemaError, "no column 'day'.*Known: ds"),
        (pa.float64(), {"ds": "1"}, InputSchemaError, "has type double; partition by a string"),
        (pa.date32(), {"ds": "soon"}, TaskError, "'soon' is no date32"),
        (pa.string(), {"ds": "a/b"}, TaskError, "becomes a folder's name"),
    ],
)
def test_a_partition_that_cannot_be_is_named(kind, given, error, message):
    with pytest.raises(error, match=message):
        read_partition(given, pa.schema([("ds", kind)]))


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

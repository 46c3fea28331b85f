"""What is computed follows what changed, and nothing else."""

import ast
import datetime as dt
import os
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from lake_scorer import INPUT, OUTPUT, carry_out, expected_rows, pieces_of, plan_of, refresh, rows_of, write_file

from sparktorch_assets.errors import CommitConflictError, TableError
from sparktorch_assets.file_identity import FileIdentity
from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.log.commit import commit_parts
from sparktorch_assets.lake.log.snapshot import data_version_of
from sparktorch_assets.lake.parquet.footers import Footer, RowGroup, footer_bytes, footer_digest
from sparktorch_assets.lake.parts.file import describe_part
from sparktorch_assets.lake.plan import make_plan, plan_shards
from sparktorch_assets.lake.rows.piece_reader import PieceReader
from sparktorch_assets.lake.scope import Scope, ScopeIndex
from sparktorch_assets.lake.shards import make_shards
from sparktorch_assets.lake.table import Table, data_version, table_version


def whole(digest):
    """The scope of a refresh of the whole table."""
    return ScopeIndex([Scope(digest=digest)], OUTPUT)


SEEN = FileIdentity(host="h", device=1, inode=1, changed_ns=1, size_bytes=1, modified_ns=1)


@pytest.fixture
def lake(tmp_path):
    source, table = tmp_path / "source", tmp_path / "table"
    for name in "abc":
        write_file(source, name, list(range(7)))
    refresh(source, table, 1)
    return source, table


@pytest.mark.promise("T6")
def test_nothing_changed_computes_nothing_and_writes_no_version(lake):
    source, table = lake
    before = sorted(path.name for path in table.rglob("*"))
    plan = plan_of(source, table, 1)
    assert not plan.changes
    assert (len(plan.new), len(plan.unchanged), len(plan.obsolete)) == (0, 9, 0)
    assert refresh(source, table, 1) == (None, [])
    assert sorted(path.name for path in table.rglob("*")) == before
    assert table_version(str(table)) == 0


@pytest.mark.promise("T6", "T8", "T9")
@pytest.mark.parametrize(
    ("change", "computed"),
    [
        (lambda source: write_file(source, "d", [1, 2]), 1),
        (lambda source: (source / "a.parquet").unlink(), 0),
        (lambda source: write_file(source, "b", [7] * 7), 3),
        (lambda source: write_file(source, "b", []), 0),
    ],
    ids=["new file", "removed file", "rewritten file", "emptied file"],
)
def test_a_change_of_the_input_computes_its_own_shards_alone(lake, change, computed):
    source, table = lake
    change(source)
    assert len(refresh(source, table, 1)[1]) == computed
    assert rows_of(table) == expected_rows(source, 1)


def test_a_file_that_moves_or_is_touched_without_a_new_time_stays(lake, tmp_path):
    """A table's identity is relative to its root."""
    source, table = lake
    moved = source.rename(tmp_path / "elsewhere")
    assert not plan_of(moved, table, 1).changes


@pytest.mark.promise("T48")
def test_new_weights_compute_everything_and_old_ones_come_back_for_nothing(lake):
    source, table = lake
    version = data_version(str(table))
    assert len(refresh(source, table, 2)[1]) == 9
    assert data_version(str(table)) != version
    plan = plan_of(source, table, 1)
    assert (len(plan.new), len(plan.resumable)) == (0, 9)
    assert refresh(source, table, 1)[1] == []
    assert rows_of(table) == expected_rows(source, 1)
    assert data_version(str(table)) == version  # the same parts are the same data


def test_an_input_without_rows_gives_an_empty_table_with_its_columns(tmp_path):
    write_file(tmp_path / "source", "zero", [])
    committed, computed = refresh(tmp_path / "source", tmp_path / "table", 1)
    assert (committed.version, computed) == (0, [])
    assert Table(str(tmp_path / "table")).schema == OUTPUT
    assert rows_of(tmp_path / "table") == []
    assert not plan_of(tmp_path / "source", tmp_path / "table", 1).changes


@pytest.mark.promise("T58")
def test_more_columns_replace_the_schema_and_every_row_in_one_commit(lake):
    source, table = lake
    wider = OUTPUT.append(pa.field("scores", pa.int64()))
    plan = plan_of(source, table, 1, wider)
    assert (len(plan.new), len(plan.obsolete)) == (9, 9)
    carry_out(plan, table, 1)
    assert table_version(str(table)) == 1
    assert Table(str(table)).schema == wider
    assert {len(row) for row in rows_of(table)} == {4}
    assert {len(row) for row in rows_of(table, version=0)} == {3}  # time travel to the old columns
    carry_out(plan_of(source, table, 1), table, 1)
    assert Table(str(table)).schema == OUTPUT


def rows_of_duckdb(uris):
    """In a process of its own: beside torch, duckdb 2.0 writes pages about leaks when the process ends."""
    code = "import ast, duckdb, sys\nprint(duckdb.read_parquet(ast.literal_eval(sys.argv[1])).fetchall())"
    done = subprocess.run(
        [sys.executable, "-c", code, repr(uris)], capture_output=True, text=True, check=True, timeout=60
    )
    return ast.literal_eval(done.stdout)


@pytest.mark.promise("T1", "T2", "T45")
def test_all_readers_find_the_same_rows(lake):
    source, table = lake
    write_file(source, "a", [5, 6])
    refresh(source, table, 3)
    wanted = expected_rows(source, 3)
    uris = [uri.removeprefix("file://") for uri in DeltaTable(str(table)).file_uris()]
    assert rows_of(table) == wanted
    assert sorted(rows_of_duckdb(uris)) == wanted
    assert sorted(pl.read_delta(str(table)).rows()) == wanted
    assert len(Table(str(table)).preview(5)) == 5
    assert Table(str(table)).row_count() == len(wanted)


def test_rows_of_a_part_keep_the_order_of_the_input(tmp_path):
    write_file(tmp_path / "source", "a", [3, 1, 2, 9, 0])
    plan = plan_of(tmp_path / "source", tmp_path / "table", 1, target_rows=1000)
    (path,) = carry_out(plan, tmp_path / "table", 1)[1]
    assert pq.read_table(tmp_path / "table" / path)["x"].to_pylist() == [3, 1, 2, 9, 0]


def test_statistics_let_readers_skip_files(lake):
    source, table = lake
    write_file(source, "d", [1000, 1001])
    refresh(source, table, 1)
    actions = pa.table(DeltaTable(str(table)).get_add_actions(flatten=True)).to_pylist()
    assert sum(action["num_records"] for action in actions) == 23
    assert [action["min.y"] for action in actions if action["max.y"] >= 1000] == [1000]
    assert {action["null_count.y"] for action in actions} == {0}


def test_a_chain_of_tables_computes_what_changed_upstream_alone(lake, tmp_path):
    source, table = lake
    second = tmp_path / "second"

    def chained():
        return make_plan(Table(str(table)), Table(str(second)), schema=OUTPUT, digest="chained", target_rows=3)

    carry_out(chained(), second, 1)
    assert not chained().changes
    write_file(source, "d", [1])
    refresh(source, table, 1)
    plan = chained()
    assert (len(plan.new), len(plan.unchanged), len(plan.obsolete)) == (1, 9, 0)


def test_somebody_elses_table_is_not_replaced(tmp_path):
    write_deltalake(str(tmp_path / "mine"), pa.table({"precious": [1]}))
    write_file(tmp_path / "source", "a", [1])
    with pytest.raises(TableError, match="files of another writer"):
        plan_of(tmp_path / "source", tmp_path / "mine", 1)


def test_rows_that_others_deleted_from_the_table_come_back(lake):
    source, table = lake
    DeltaTable(str(table)).delete("x > 3")
    assert len(rows_of(table)) == 12
    refresh(source, table, 1)
    assert rows_of(table) == expected_rows(source, 1)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(TableError, match=r"there is no table at .*nowhere"):
        Table(str(tmp_path / "nowhere")).files
    (tmp_path / "empty").mkdir()
    with pytest.raises(TableError, match="holds no Parquet files"):
        Table(str(tmp_path / "empty")).files


@pytest.mark.promise("T31")
def test_a_delta_table_lists_what_its_log_says_not_what_lies_there(lake):
    source, table = lake
    refresh(source, table, 2)
    listed = {file.path for file in Table(str(table)).files}
    assert listed == set(Table(str(table)).snapshot.parts)
    assert len(listed) < len(list(table.glob("part-*.parquet")))


def test_a_broken_source_file_is_named(tmp_path):
    write_file(tmp_path / "source", "a", [1])
    (tmp_path / "source" / "b.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(TableError, match=r"b\.parquet"):
        plan_of(tmp_path / "source", tmp_path / "table", 1)


def test_a_source_file_that_changes_under_a_run_stops_it(tmp_path):
    source, table = tmp_path / "source", tmp_path / "table"
    write_file(source, "a", [1, 2, 3])
    plan = plan_of(source, table, 1)
    write_file(source, "a", [1, 2])
    with pytest.raises(TableError, match="is no longer the file"):
        carry_out(plan, table, 1)
    assert table_version(str(table)) is None


def write_bare(path, values):
    """A file that looks like any other of as many values: equal sizes, and no statistics."""
    rows = pa.table({"id": ["a"] * len(values), "x": values}, schema=INPUT)
    pq.write_table(rows, path, use_dictionary=False, write_statistics=False, compression="none")


@pytest.mark.parametrize("times", ["kept", "new"])
@pytest.mark.parametrize("how", ["overwritten", "replaced"])
@pytest.mark.parametrize("when", ["before it is opened", "once it is open"])
def test_a_source_file_that_gives_way_to_one_that_looks_the_same_stops_the_run(tmp_path, when, how, times):
    """Size and footer stay, and even the time may. Whoever has the replaced file open goes on reading it."""
    source, other = tmp_path / "source" / "a.parquet", tmp_path / "other.parquet"
    source.parent.mkdir()
    write_bare(source, [1, 2, 3])
    write_bare(other, [4, 5, 6])
    before = source.stat()
    (shard,) = plan_of(source.parent, tmp_path / "table", 1).new

    def change():
        if how == "replaced":
            other.rename(source)
        else:
            source.write_bytes(other.read_bytes())
        if times == "kept":
            os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
        with Folder(str(source)).open_input() as file:
            assert footer_digest(footer_bytes(file)) == shard.pieces[0].footer_digest
        assert source.stat().st_size == before.st_size

    if when == "before it is opened":
        change()
        with pytest.raises(TableError, match="is no longer the file"):
            PieceReader(shard.pieces[0], INPUT)
        return
    with PieceReader(shard.pieces[0], INPUT) as reader:
        change()
        with pytest.raises(TableError, match="is no longer the file"):
            list(reader.batches())


def test_a_plan_prints_its_sums(lake):
    source, table = lake
    write_file(source, "d", [1, 2])
    (source / "a.parquet").unlink()
    text = str(plan_of(source, table, 1))
    assert [line.split()[:2] for line in text.splitlines()[1:]] == [
        ["new", "1"],
        ["resumable", "0"],
        ["unchanged", "6"],
        ["obsolete", "3"],
    ]


@pytest.mark.promise("T18", "T19")
def test_two_runs_of_one_plan_commit_once(lake):
    source, table = lake
    write_file(source, "d", [1, 2])
    mine, theirs = plan_of(source, table, 1), plan_of(source, table, 1)
    assert carry_out(theirs, table, 1)[0].changed
    committed, _ = carry_out(mine, table, 1)
    assert (committed.changed, committed.version) == (False, 1)
    assert rows_of(table) == expected_rows(source, 1)


def test_a_run_that_knows_more_goes_through_and_one_that_knows_less_is_refused(lake):
    """A newer plan contains what the other added; a stale one would take it away again."""
    source, table = lake
    write_file(source, "d", [1])
    stale = plan_of(source, table, 1)
    write_file(source, "e", [2])
    newer = plan_of(source, table, 1)
    late = plan_of(source, table, 1)
    carry_out(stale, table, 1)
    assert carry_out(newer, table, 1)[0].version == 2
    assert rows_of(table) == expected_rows(source, 1)
    with pytest.raises(CommitConflictError, match="1 parts added"):
        carry_out(stale, table, 1)
    assert carry_out(late, table, 1)[0].changed is False
    assert rows_of(table) == expected_rows(source, 1)


@pytest.mark.promise("T19", "T20")
def test_two_runs_with_different_weights_never_mix(lake):
    source, table = lake
    two, three = plan_of(source, table, 2), plan_of(source, table, 3)
    carry_out(two, table, 2)
    with pytest.raises(CommitConflictError, match="Nothing of this run was committed"):
        carry_out(three, table, 3)
    assert rows_of(table) == expected_rows(source, 2)
    again = plan_of(source, table, 3)
    assert (len(again.new), len(again.resumable)) == (0, len(three.new))  # what it computed stays


def test_planning_grows_with_the_shards_and_no_faster(tmp_path):
    """Ten times the shards may take thirty times as long at the very most: quadratic work would take a hundred."""

    def seconds(shards: int) -> float:
        files = [
            DataFile(uri=f"/none/{number}", path=f"{number}", size_bytes=1, modified_ms=1)
            for number in range(shards // 10)
        ]
        footer = Footer(
            digest="f", seen=SEEN, schema=INPUT, packed=b"", row_groups=(RowGroup(rows=10, bytes=100),) * 10
        )
        none = Table(str(tmp_path / "none"))
        start = time.perf_counter()
        planned = make_shards(files, [footer] * len(files), whole("d"), target_rows=10)
        (plan,) = plan_shards(planned, none, OUTPUT)
        assert len(plan.new) == len(plan.target) == shards
        return time.perf_counter() - start

    seconds(1000)
    assert seconds(20_000) < 30 * max(seconds(2000), 0.01)


@pytest.mark.promise("T4")
def test_a_cut_never_splits_row_groups_and_covers_all_rows():
    groups = tuple(RowGroup(rows=rows, bytes=rows) for rows in (0, 5, 5, 20, 1, 0, 1, 0))
    file = DataFile(uri="u", path="p", size_bytes=1, modified_ms=1)
    shards = make_shards(
        [file], [Footer(digest="f", seen=SEEN, schema=INPUT, packed=b"", row_groups=groups)], whole("d"), target_rows=10
    )[()]
    assert [(piece.first_group, piece.end_group, piece.rows) for piece in pieces_of(shards)] == [
        (0, 3, 10),
        (3, 4, 20),
        (4, 8, 2),
    ]


@pytest.mark.promise("T5")
def test_every_part_of_an_identity_counts():
    """Path, size, time, footer, partition, model: another value of any one gives another fingerprint."""
    base = {"uri": "u", "path": "p", "size_bytes": 1, "modified_ms": 1}
    groups = (RowGroup(rows=1, bytes=1),)
    cases = [(base, "f", "d"), (base, "g", "d"), (base, "f", "e")]
    cases += [
        (base | change, "f", "d")
        for change in ({"path": "q"}, {"size_bytes": 2}, {"modified_ms": 2}, {"partition": (("ds", "1"),)})
    ]
    found = {
        make_shards(
            [DataFile(**file)],
            [Footer(digest=footer, seen=SEEN, schema=INPUT, packed=b"", row_groups=groups)],
            whole(digest),
        )[()][0].fingerprint
        for file, footer, digest in cases
    }
    assert len(found) == len(cases)
    other_root = make_shards(
        [DataFile(**base | {"uri": "v"})],
        [Footer(digest="f", seen=SEEN, schema=INPUT, packed=b"", row_groups=groups)],
        whole("d"),
    )[()]
    assert other_root[0].fingerprint in found


@pytest.mark.promise("T31")
def test_hidden_files_and_partition_folders_of_a_plain_folder(tmp_path):
    write_file(tmp_path / "t" / "ds=2013-01-01", "a", [1])
    write_file(tmp_path / "t" / "_temporary", "b", [1])
    write_file(tmp_path / "t", ".c", [1])
    (file,) = Table(str(tmp_path / "t")).files
    assert file.partition == (("ds", "2013-01-01"),)
    assert Table(str(tmp_path / "t")).schema.names == ["id", "x", "ds"]
    assert Table(str(tmp_path / "t")).preview(1)[0]["ds"] == "2013-01-01"
    assert Path(file.uri).is_absolute()


@pytest.mark.promise("T31")
def test_a_single_file_is_a_table(tmp_path, monkeypatch):
    """By its path, absolute or relative, and as a URI."""
    write_file(tmp_path, "a", [1, 2, 3, 4])
    monkeypatch.chdir(tmp_path)
    for number, spelling in enumerate([str(tmp_path / "a.parquet"), "a.parquet", f"file://{tmp_path}/a.parquet"]):
        (file,) = Table(spelling).files
        assert (file.path, Table(spelling).row_count(), table_version(spelling)) == ("a.parquet", 4, None)
        plan = make_plan(Table(spelling), Table(str(tmp_path / f"t{number}")), schema=OUTPUT, digest="d", target_rows=1)
        assert [shard.rows for shard in plan.new] == [3, 1]
    with pytest.raises(TableError, match="there is no table at 'b.parquet'"):
        Table("b.parquet").files


def test_an_input_table_is_no_place_for_predictions(tmp_path):
    """It is a table of ours, and still somebody else's."""
    write_file(tmp_path / "source", "a", [1])
    table, name = tmp_path / "things", f"part-{'0' * 32}-00000.parquet"
    table.mkdir()
    pq.write_table(pa.table({"x": [1]}), table / name)
    part = describe_part(Folder(str(table)), name)
    commit_parts(
        str(table),
        pa.schema([("x", pa.int64())]),
        add=[part],
        remove=[],
        metadata={"input_table": "t"},
        read_version=None,
    )
    with pytest.raises(TableError, match="files of another writer"):
        plan_of(tmp_path / "source", table, 1)


def test_sparks_own_timestamps_are_instants(tmp_path):
    """Spark writes INT96 by default, in UTC; the table's column says so, and a part keeps the instant."""
    source, table, at = tmp_path / "source", tmp_path / "table", dt.datetime(2013, 1, 1, 7, 0, 0, 5, tzinfo=dt.UTC)
    source.mkdir()
    rows = pa.table({"at": pa.array([at, None], pa.timestamp("us", "UTC")), "x": [1, 2]})
    pq.write_table(rows, source / "a.parquet", use_deprecated_int96_timestamps=True)
    schema = Table(str(source)).schema
    assert schema.field("at").type == pa.timestamp("us", "UTC")
    (shard,) = make_plan(Table(str(source)), Table(str(table)), schema=schema, digest="d").new
    with PieceReader(shard.pieces[0], schema) as reader:
        assert pa.Table.from_batches(reader.batches()).to_pylist() == rows.to_pylist()


@pytest.mark.promise("T42")
def test_a_partition_folder_for_nulls_gives_nulls(tmp_path):
    rows = pa.table({"x": [1, 2], "day": pa.array([7, None])})
    pq.write_to_dataset(rows, tmp_path / "plain", partition_cols=["day"])
    write_deltalake(str(tmp_path / "delta"), rows, partition_by=["day"])
    for name, days in (("plain", {None, "7"}), ("delta", {None, 7})):
        assert {row["day"] for row in Table(str(tmp_path / name)).preview(9)} == days


def test_a_file_whose_columns_stand_in_another_order_computes_its_own_rows_alone(lake):
    """Which file comes first by name decides the order of a folder's columns, and must not decide what is computed."""
    source, table = lake
    write_file(source, "b", [1, 2])
    refresh(source, table, 1)
    swapped = pa.schema([OUTPUT.field(name) for name in ("x", "id", "y")])
    write_file(source, "a", [3])
    plan = make_plan(
        Table(str(source)), Table(str(table)), schema=swapped, digest=f"weight 1 {OUTPUT.names}", target_rows=3
    )
    assert plan.schema.names == OUTPUT.names
    assert {piece.file.path for piece in pieces_of(plan.new)} == {"a.parquet"}
    carry_out(plan, table, 1)
    assert rows_of(table) == expected_rows(source, 1)


def test_the_order_of_columns_stays_where_everything_is_computed_anew(lake):
    """delta-rs keeps a table's order when all of it is replaced: a plan in another order would promise a data version that
    the table never has."""
    source, table = lake
    swapped = pa.schema([OUTPUT.field(name) for name in ("x", "id", "y")])
    plan = make_plan(Table(str(source)), Table(str(table)), schema=swapped, digest="weight 2", target_rows=3)
    assert not plan.unchanged
    assert plan.schema.names == OUTPUT.names
    carry_out(plan, table, 2)
    assert data_version(str(table)) == data_version_of(plan.target, plan.schema)

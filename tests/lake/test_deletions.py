"""Rows that a Delta table deleted by a deletion vector are never read, counted or shown."""

import pyarrow as pa
import pytest
from delta_log import column, file_vector, inline_vector, put_file, write_log
from deltalake import DeltaTable, QueryBuilder
from hypothesis import given, settings
from hypothesis import strategies as st
from lake_scorer import INPUT, OUTPUT, carry_out, conditions, pieces_of, plan_of, refresh, rows_of, write_file

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.rows.piece_reader import PieceReader
from sparktorch_assets.lake.table import Table
from sparktorch_assets.tasks.row_filter import RowFilter

COLUMNS = [column("id", "string"), column("x", "long")]
FORMS = {
    "in the log": lambda table, deleted: inline_vector(deleted),
    "in a file": file_vector,
    "in a file of a subfolder": lambda table, deleted: file_vector(table, deleted, prefix="ab"),
    "in a file by its URI": lambda table, deleted: file_vector(table, deleted, absolute=True),
}


def rows(name, count):
    return pa.table({"id": [f"{name}-{row}" for row in range(count)], "x": list(range(count))}, schema=INPUT)


def make(table, files, form="in the log", group_rows=3):
    """A table of files, name -> (rows, deleted), and the ids of the rows that are left, file by file."""
    adds, left = [], []
    for name, (count, deleted) in sorted(files.items()):
        action = put_file(table, f"{name}.parquet", rows(name, count), row_group_size=group_rows)
        if deleted:
            action["deletionVector"] = FORMS[form](table, deleted)
        adds.append(action)
        left += [f"{name}-{row}" for row in range(count) if row not in deleted]
    write_log(table, COLUMNS, adds, features=["deletionVectors"])
    return left


def read(shards, where=()):
    found, skipped = [], 0
    for piece in pieces_of(shards):
        with PieceReader(piece, INPUT, conditions(INPUT, where)) as reader:
            mine = [one for batch in reader.batches() for one in batch["id"].to_pylist()]
            assert len(mine) + reader.filtered_rows == piece.rows
        found += mine
        skipped += reader.filtered_rows
    return found, skipped


@pytest.mark.promise("T33")
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_vector_is_honoured(tmp_path, form):
    table = tmp_path / "a table"
    left = make(table, {"a": (7, {0, 3, 4, 5}), "b": (4, set()), "c": (3, {0, 1, 2}), "d": (9, {8})}, form)
    plan = plan_of(table, tmp_path / "out", 1)
    assert read(plan.new) == (left, 0)
    assert plan.rows == Table(str(table)).row_count() == len(left)
    assert [row["id"] for row in Table(str(table)).preview(99)] == left
    assert [row["id"] for row in Table(str(table)).preview(4)] == left[:4]
    others = QueryBuilder().register("t", DeltaTable(str(table))).execute("select id from t order by id")
    assert pa.table(others)["id"].to_pylist() == left
    carry_out(plan, tmp_path / "out", 1)
    assert [row[0] for row in rows_of(tmp_path / "out")] == left


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    group_rows=st.integers(1, 12),
    target_rows=st.integers(1, 30) | st.just(500),
    shard_rows=st.none() | st.integers(1, 10),
    above=st.none() | st.integers(-1, 40),
)
def test_shards_hold_the_rows_that_are_left(tmp_path_factory, data, counts, group_rows, target_rows, shard_rows, above):
    """However files, row groups and shards are cut, and whichever row groups are left unread."""
    table = tmp_path_factory.mktemp("deletions")
    files = {
        name: (count, data.draw(st.sets(st.integers(0, count - 1)), label=name))
        for name, count in zip("abc", counts, strict=False)
    }
    left = make(table, files, group_rows=group_rows)
    plan = plan_of(table, table / "out", 1, target_rows=target_rows, shard_rows=shard_rows)
    where = () if above is None else (RowFilter(column="x", op=">", value=above),)
    found, skipped = read(plan.new, where)
    assert len(found) + skipped == plan.rows == Table(str(table)).row_count() == len(left)
    assert all(shard.rows > 0 for shard in plan.new)
    if above is None:
        assert found == left
    else:
        assert set(found) <= set(left)
        assert [one for one in found if int(one[2:]) > above] == [one for one in left if int(one[2:]) > above]


@pytest.mark.promise("T33")
def test_a_deletion_rescores_its_own_shards_alone(tmp_path):
    table, out = tmp_path / "in", tmp_path / "out"
    make(table, {"a": (9, {1}), "b": (6, set())})
    refresh(table, out, 1)
    left = make(table, {"a": (9, {1, 7}), "b": (6, set())})
    _, computed = refresh(table, out, 1)
    assert len(computed) == 1
    assert [row[0] for row in rows_of(out)] == left
    assert refresh(table, out, 1) == (None, [])
    # Restored, and a whole shard gone. The last shard of `a` is as it was at first, and its part still lies there.
    left = make(table, {"a": (9, set()), "b": (6, {0, 1, 2})})
    assert len(refresh(table, out, 1)[1]) == 1
    assert [row[0] for row in rows_of(out)] == left


def test_shards_travel_with_the_bits_of_their_own_rows_alone(tmp_path):
    make(tmp_path / "in", {"a": (64, {0, 63})}, group_rows=8)
    shards = plan_of(tmp_path / "in", tmp_path / "out", 1, target_rows=8).new
    assert [piece.deleted for piece in pieces_of(shards)] == [b"\x01", *[b""] * 6, b"\x80"]
    assert {piece.file.deleted for piece in pieces_of(shards)} == {b""}


BROKEN = {
    "a file that is gone": {"storageType": "u", "pathOrInlineDv": "0" * 20, "offset": 1, "sizeInBytes": 36},
    "no bitmap": {"storageType": "i", "pathOrInlineDv": "00000", "sizeInBytes": 4},
    "more rows than the file": inline_vector({50}),
}


@pytest.mark.parametrize("vector", BROKEN)
def test_a_vector_that_cannot_be_read_is_refused(tmp_path, vector):
    action = put_file(tmp_path, "a.parquet", rows("a", 5)) | {"deletionVector": {"cardinality": 1, **BROKEN[vector]}}
    write_log(tmp_path, COLUMNS, [action], features=["deletionVectors"])
    with pytest.raises(TableError, match="cannot read the log of the Delta table"):
        plan_of(tmp_path, tmp_path / "out", 1)


def test_a_file_without_counts_is_counted_by_its_footer(tmp_path):
    first, second = (put_file(tmp_path, f"{name}.parquet", rows(name, 5)) for name in "ab")
    write_log(tmp_path, COLUMNS, [first | {"stats": None}, second])
    assert Table(str(tmp_path)).row_count() == 10
    vector = {"stats": None, "deletionVector": inline_vector({1})}
    write_log(tmp_path, COLUMNS, [first | vector], features=["deletionVectors"])
    with pytest.raises(TableError, match="Missing numRecords"):  # Delta asks for the count next to a vector
        Table(str(tmp_path)).row_count()


def test_an_output_with_deletion_vectors_is_refused(tmp_path):
    """A part is removed only together with its vector, which delta-rs has no way to name."""
    source, table = tmp_path / "in", tmp_path / "out"
    write_file(source, "a", [1, 2, 3])
    refresh(source, table, 1)
    part = pa.table(DeltaTable(str(table)).get_add_actions()).to_pylist()[0]
    action = {
        "path": part["path"],
        "partitionValues": {},
        "size": part["size_bytes"],
        "modificationTime": 1,
        "dataChange": True,
        "stats": '{"numRecords": 3}',
    }
    columns = [*COLUMNS, column("y", "long")]
    write_log(table, columns, [], features=["deletionVectors"], version=1)
    assert not plan_of(source, table, 1).changes  # the feature alone changes nothing
    write_log(
        table, columns, [action | {"deletionVector": inline_vector({1})}], features=["deletionVectors"], version=2
    )
    with pytest.raises(TableError, match=r"deletion vectors.*REORG TABLE .* APPLY \(PURGE\)"):
        plan_of(source, table, 2)
    assert OUTPUT.names == [field.name for field in DeltaTable(str(table)).schema().fields]

"""Tables made whole from others: a new version where those changed, and only there."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from sparktorch_assets.errors import CommitConflictError, TableError
from sparktorch_assets.lake.derived import write_if_changed
from sparktorch_assets.lake.vacuum import vacuum


@pytest.fixture
def table(tmp_path):
    return str(tmp_path / "table")


def rows_of(table):
    return DeltaTable(table).to_pyarrow_table().to_pylist()


def test_a_new_version_where_what_it_was_made_from_changed(table):
    """The same sources leave the table alone, whatever the rows; others replace it, columns too."""
    assert write_if_changed(table, pa.table({"a": [1]}), "v1")
    assert not write_if_changed(table, pa.table({"a": [1]}), "v1")
    assert DeltaTable(table).version() == 0
    assert write_if_changed(table, pa.table({"b": ["x", "y"]}), "v2")
    assert write_if_changed(table, pa.table({"a": [1]}), "v1")  # back again
    assert DeltaTable(table).version() == 2
    assert rows_of(table) == [{"a": 1}]


def test_somebody_elses_commit_is_no_reason_to_keep_the_table(table):
    """A DELETE by hand leaves other rows under our old name: the next refresh brings the table back."""
    write_if_changed(table, pa.table({"a": [1, 2]}), "v1")
    DeltaTable(table).delete("a = 1")
    assert write_if_changed(table, pa.table({"a": [1, 2]}), "v1")
    assert len(rows_of(table)) == 2


@pytest.mark.parametrize("damage", ["deleted", "cut"])
def test_a_lost_file_is_written_again(table, damage):
    """Without a new version where it comes back as it was."""
    rows = pa.table({"a": [1, 2]})
    write_if_changed(table, rows, "v1")
    (file,) = map(Path, DeltaTable(table).file_uris())
    file.unlink() if damage == "deleted" else file.write_bytes(file.read_bytes()[:20])
    assert not write_if_changed(table, rows, "v1")
    assert rows_of(table) == [{"a": 1}, {"a": 2}]
    assert DeltaTable(table).version() == 0


@pytest.mark.promise("T57")
def test_a_vacuum_clears_the_versions_before(table):
    write_if_changed(table, pa.table({"a": [1]}), "v1")
    write_if_changed(table, pa.table({"a": [2]}), "v2")
    assert len(vacuum(table, retention_hours=0).files) == 1
    assert rows_of(table) == [{"a": 2}]


def test_types_that_delta_lacks_are_widened_and_none_is_lost(table):
    """As in prediction tables: delta-rs alone would make negative numbers of large unsigned ones."""
    rows = pa.table({"u": pa.array([255], pa.uint8()), "d": pa.array(["x"]).dictionary_encode()})
    write_if_changed(table, rows, "v1")
    assert rows_of(table) == [{"u": 255, "d": "x"}]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TableError, match="cannot write .*file/table"):
        write_if_changed(str(tmp_path / "file" / "table"), pa.table({"a": [1]}), "v1")


def _write_at_once(table, contents):
    """Every writer has read the table before the first one commits."""
    barrier = threading.Barrier(len(contents))

    def write(rows, made_from):
        barrier.wait()
        try:
            return write_if_changed(table, rows, made_from)
        except CommitConflictError as error:
            return error

    with ThreadPoolExecutor(len(contents)) as pool:
        return list(pool.map(lambda content: write(*content), contents))


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("attempt", range(5))
def test_writers_at_once_leave_the_rows_of_one_of_them(table, exists, attempt):
    """Neither the same rows twice nor the rows of both: one commit counts, and the others say what became of theirs."""
    if exists:
        write_if_changed(table, pa.table({"a": [0]}), "v0")
    same = [(pa.table({"a": [1, 2]}), "v1")] * 4
    outcomes = _write_at_once(table, same)
    assert sorted(map(str, outcomes)) == ["False", "False", "False", "True"]
    assert rows_of(table) == [{"a": 1}, {"a": 2}]
    different = [(pa.table({"a": [number] * 3}), f"w{number}") for number in range(3)]
    outcomes = _write_at_once(table, different)
    assert outcomes.count(True) >= 1
    assert all(outcome is True or isinstance(outcome, CommitConflictError) for outcome in outcomes)
    found = rows_of(table)
    assert len(found) == 3
    assert len({row["a"] for row in found}) == 1


def day(number, *values):
    """Rows of a day, which is written as a partition."""
    return {
        "rows": pa.table({"a": pa.array(values, pa.int64()), "ds": [f"2013-01-0{number}"] * len(values)}),
        "partition": {"ds": f"2013-01-0{number}"},
    }


@pytest.mark.promise("T130")
def test_a_partition_is_replaced_alone(table):
    """Each remembers what it was made from, whatever was written since; the others' files stay."""
    assert write_if_changed(table, made_from="v1", **day(1, 1, 2))
    assert write_if_changed(table, made_from="v1", **day(2, 3))
    files = set(DeltaTable(table).file_uris())
    assert DeltaTable(table).metadata().partition_columns == ["ds"]
    assert not write_if_changed(table, made_from="v1", **day(1, 1, 2))
    assert not write_if_changed(table, made_from="v1", **day(2, 3))
    assert write_if_changed(table, made_from="v2", **day(2))  # a day without rows
    assert not write_if_changed(table, made_from="v2", **day(2))
    assert not write_if_changed(table, made_from="v1", **day(1, 1, 2))
    assert rows_of(table) == [{"a": 1, "ds": "2013-01-01"}, {"a": 2, "ds": "2013-01-01"}]
    assert len(files & set(DeltaTable(table).file_uris())) == 1
    assert DeltaTable(table).version() == 2
    assert len(vacuum(table, retention_hours=0).files) == 1


@pytest.mark.promise("T130")
def test_a_partition_that_was_lost_or_changed_by_others_is_written_again(table):
    for number in (1, 2):
        write_if_changed(table, made_from="v1", **day(number, number))
    (file,) = (Path(uri) for uri in DeltaTable(table).file_uris() if "01-01" in uri)
    file.unlink()
    assert not write_if_changed(table, made_from="v1", **day(1, 1))  # the same file, no new version
    DeltaTable(table).delete("a = 2")
    assert write_if_changed(table, made_from="v1", **day(2, 2))
    assert sorted(row["a"] for row in rows_of(table)) == [1, 2]


@pytest.mark.promise("T131")
def test_rows_of_another_partition_are_refused(table):
    rows = pa.table({"a": [1, 2], "ds": ["2013-01-01", None]})
    with pytest.raises(TableError, match="for the partition ds=2013-01-01 have another value in column 'ds'"):
        write_if_changed(table, rows, "v1", partition={"ds": "2013-01-01"})
    assert write_if_changed(table, rows.drop_columns("ds"), "v1", partition={"ds": "2013-01-01"})
    assert [row["ds"] for row in rows_of(table)] == ["2013-01-01"] * 2
    with pytest.raises(TableError, match="is partitioned by ds, but this refresh covers the whole table at once"):
        write_if_changed(table, rows, "v1")


@pytest.mark.parametrize("attempt", range(3))
def test_writers_of_different_partitions_do_not_disturb_each_other(table, attempt):
    barrier = threading.Barrier(4)

    def write(number):
        barrier.wait()
        return write_if_changed(table, made_from="v1", **day(number, number))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write, range(1, 5))) == [True] * 4
    assert sorted(row["a"] for row in rows_of(table)) == [1, 2, 3, 4]
    assert not any(write_if_changed(table, made_from="v1", **day(number, number)) for number in range(1, 5))


def test_a_partition_may_add_columns(table):
    """Null in the others; a column that goes is refused, since the others have it."""
    write_if_changed(table, made_from="v1", **day(1, 1))
    wider = day(2, 2)
    wider["rows"] = wider["rows"].append_column("b", [["x"]])
    assert write_if_changed(table, made_from="v1", **wider)
    assert {(row["a"], row["b"]) for row in rows_of(table)} == {(1, None), (2, "x")}
    with pytest.raises(TableError, match="can only add columns"):
        write_if_changed(table, made_from="v2", **day(1, 1))

"""Which files of a folder without a readable Delta log are its rows; a folder that does not tell is refused."""

import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.table import Table

ROWS = pa.table({"id": [1]})


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(ROWS, path)


@pytest.mark.promise("T77")
def test_files_of_every_usual_name_are_read(tmp_path, caplog):
    """Of Spark, pandas, Hive and Trino; hidden ones, other files and half-written ones are not."""
    rows = ["a.parquet", "b.PARQUET", "c.parq", "d.pq", "000000_0", "20130101_abc", "_p=1/e.parquet"]
    for name in rows:
        write(tmp_path / name)
    assert [file.path for file in Table(str(tmp_path / "_p=1")).files] == ["e.parquet"]
    shutil.rmtree(tmp_path / "_p=1")
    for name in ("_SUCCESS", ".hidden.parquet", "_tmp/f.parquet", ".hidden/g.parquet", "h.parquet.tmp"):
        write(tmp_path / name)
    (tmp_path / "README").write_text("no Parquet")
    (tmp_path / "empty").touch()
    assert [file.path for file in Table(str(tmp_path)).files] == sorted(rows[:-1])
    assert "h.parquet.tmp is a Parquet file, but is not read" in caplog.text
    assert "README" not in caplog.text


@pytest.mark.promise("T77")
def test_a_partition_column_may_begin_with_an_underscore(tmp_path):
    write(tmp_path / "_p=1" / "a.parquet")
    assert Table(str(tmp_path)).preview(9) == [{"id": 1, "_p": "1"}]


def overwritten(path):
    write_deltalake(path, ROWS)
    write_deltalake(path, pa.table({"id": [2]}), mode="overwrite")


@pytest.mark.promise("T78")
def test_a_delta_table_inside_the_folder_is_refused(tmp_path):
    """Its files hold rows that it has no more."""
    write(tmp_path / "a.parquet")
    overwritten(tmp_path / "sub" / "table")
    with pytest.raises(TableError, match="holds a Delta table, 'sub/table'.*Name that table"):
        Table(str(tmp_path)).files
    (tmp_path / "sub").rename(tmp_path / "_sub")
    assert [file.path for file in Table(str(tmp_path)).files] == ["a.parquet"]


@pytest.mark.promise("T78")
def test_a_partition_of_a_delta_table_is_refused(tmp_path):
    table = pa.table({"id": [1, 2], "p": ["a", "b"], "q": [1, 1]})
    write_deltalake(tmp_path / "t", table, partition_by=["p", "q"])
    for name in ("p=a", "p=a/q=1"):
        with pytest.raises(TableError, match="is a partition's folder of the Delta table '.*/t'.*Name that table"):
            Table(str(tmp_path / "t" / name)).files
    write(tmp_path / "plain" / "p=a" / "q=1" / "a.parquet")
    assert [file.path for file in Table(str(tmp_path / "plain" / "p=a")).files] == ["q=1/a.parquet"]


def delete_all(log):
    for entry in log.iterdir():
        entry.unlink()


def dangle(log):
    shutil.rmtree(log)
    log.symlink_to(log.parent / "nowhere")


@pytest.mark.promise("T78")
@pytest.mark.parametrize("damage", [delete_all, dangle])
def test_a_delta_table_that_lost_its_log_is_refused(damage, tmp_path):
    overwritten(tmp_path / "t")
    damage(tmp_path / "t" / "_delta_log")
    with pytest.raises(TableError, match="has a Delta log .* of which no version can be read.*Restore the log"):
        Table(str(tmp_path / "t")).files


@pytest.mark.promise("T78")
def test_every_version_that_can_be_read_is_right_or_refused(tmp_path):
    """Whichever files of the log are lost."""
    for lost in range(8):
        table = tmp_path / str(lost)
        for number in range(3):
            write_deltalake(table, pa.table({"id": [number]}), mode="overwrite")
        valid = [[{"id": number}] for number in range(3)]
        for number in range(3):
            if lost & 1 << number:
                (table / "_delta_log" / f"{number:020}.json").unlink()
        try:
            found = Table(str(table)).preview(9)
        except TableError:
            continue
        assert found in valid
        assert found == preview_by_delta_rs(table)


def preview_by_delta_rs(table):
    return DeltaTable(table).to_pyarrow_table().to_pylist()

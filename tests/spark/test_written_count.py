"""What Spark's tasks write has to be in the folder afterwards."""

import pytest

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.spark.inputs.materialize import materialize_input
from sparktorch_assets.spark.inputs.read import SourceReader
from sparktorch_assets.spark.written_count import WrittenCount
from sparktorch_assets.tasks import InputTable


@pytest.mark.parametrize("rows", [0, 7])
def test_rows_that_are_not_there_are_refused(spark, tmp_path, rows):
    """More or fewer than were written."""
    counted = WrittenCount(spark.range(rows))
    counted.dataframe.write.parquet(str(tmp_path / "rows"))
    counted.check(rows, "task 't'", "folder")
    with pytest.raises(
        TableError, match=rf"task 't': .* wrote {rows} rows to 'folder', and {rows + 1} are there. On a cl"
    ):
        counted.check(rows + 1, "task 't'", "folder")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_input_whose_rows_went_to_another_folder_is_not_committed_empty(spark, tmp_path, monkeypatch, kind):
    """As on a host that does not share the lake."""
    (tmp_path / "in").mkdir()
    if kind == "csv":
        (tmp_path / "in" / "a.csv").write_text("id\n1\n2\n")
    else:
        spark.range(2).selectExpr("cast(id as int) id").write.parquet(str(tmp_path / "in"), mode="append")
    table = InputTable(
        name="things", source=f"in/*.{kind}", format=kind, columns={"id": "int"},
        options={"header": True} if kind == "csv" else {},
    )  # fmt: skip
    elsewhere = tmp_path / "elsewhere"
    write = SourceReader._write

    def write_elsewhere(reader, data, folder, staging, schema):
        write(reader, data, Folder(str(elsewhere)), staging, schema)
        return [entry.path for entry in folder.files(staging)]

    monkeypatch.setattr(SourceReader, "_write", write_elsewhere)
    with pytest.raises(TableError, match="InputTable 'things': Spark's tasks wrote 2 rows to '.*', and 0 are there"):
        materialize_input(spark, table, project_root=tmp_path, table_uri=str(tmp_path / "lake" / "things"))
    assert not (tmp_path / "lake" / "things" / "_delta_log").exists()
    monkeypatch.undo()
    assert materialize_input(spark, table, project_root=tmp_path, table_uri=str(tmp_path / "lake" / "things")).rows == 2

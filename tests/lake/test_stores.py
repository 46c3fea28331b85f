"""Object stores give names to whole files, but not exclusively."""

import shutil

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from lake_scorer import INPUT, OUTPUT, expected_rows, plan_of, refresh, rows_of, write_file

from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.parts.writer import PartWriter
from sparktorch_assets.lake.rows.piece_reader import PieceReader
from sparktorch_assets.tally import Tally


@pytest.mark.promise("T27")
def test_of_two_runs_that_finish_a_part_at_one_moment_both_succeed_and_the_later_file_stays(tmp_path, monkeypatch):
    folder = Folder(str(tmp_path))
    folder.is_local = False  # the local file system in a store's part
    for name in ("one", "two"):
        (tmp_path / f"{name}.tmp").write_text(name)
    monkeypatch.setattr(folder, "info", lambda _: None)  # both looked before either moved
    assert folder.publish("one.tmp", "part") is True
    assert folder.publish("two.tmp", "part") is True
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("part", "two")]
    monkeypatch.undo()
    (tmp_path / "three.tmp").write_text("three")
    assert folder.publish("three.tmp", "part") is False
    assert (tmp_path / "part").read_text() == "two"


@pytest.mark.promise("T28")
def test_a_part_that_came_later_with_other_timings_is_put_right(tmp_path):
    """The log says the size of the one before, which some readers go by."""
    source, table = tmp_path / "source", tmp_path / "table"
    write_file(source, "a", [1, 2, 3])
    (shard,) = plan_of(source, table, 2).new
    refresh(source, table, 2)
    other = Folder(str(tmp_path / "other"))
    other.create()
    with PartWriter(other, shard.fingerprint, OUTPUT) as writer, PieceReader(shard.pieces[0], INPUT) as reader:
        for batch in reader.batches():
            writer.write(pa.RecordBatch.from_arrays([*batch.columns, pc.multiply(batch["x"], 2)], schema=OUTPUT))
        tally = Tally(rows=3, predicted=3, classes={"2": 3})
        tally.spend("forward", 1234.56789)
        writer.finish(tally)
    before = (table / shard.part_path).stat().st_size
    shutil.copy(tmp_path / "other" / shard.part_path, table / shard.part_path)
    assert (table / shard.part_path).stat().st_size != before
    with pytest.raises(
        pa.ArrowInvalid, match="magic bytes not found"
    ):  # delta-rs looks for the footer by the log's size
        rows_of(table)
    committed, computed = refresh(source, table, 2)
    assert (committed.version, computed) == (1, [])  # the file is whole: its size is put right, and no row is computed
    assert rows_of(table) == expected_rows(source, 2)

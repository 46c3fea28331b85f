"""Bytes that are not the ones that were written are noticed when they are read, and our own parts are made again."""

import os
import shutil
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lake_scorer import INPUT, expected_rows, pieces_of, plan_of, refresh, rows_of, write_file

from sparktorch_assets.errors import TableError
from sparktorch_assets.file_identity import file_identity
from sparktorch_assets.lake.derived import write_if_changed
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.parts import damage as module
from sparktorch_assets.lake.parts.damage import damaged_file
from sparktorch_assets.lake.parts.file import describe_part, publish_by_content
from sparktorch_assets.lake.rows.piece_reader import PieceReader
from sparktorch_assets.lake.table import Table
from sparktorch_assets.lake.vacuum import vacuum


def read(plan):
    rows = []
    for piece in pieces_of(plan.new):
        with PieceReader(piece, INPUT) as reader:
            rows += [tuple(row.values()) for batch in reader.batches() for row in batch.to_pylist()]
    return sorted(rows)


def read_error(plan, expected):
    """What the reader said; `None` where the rows are the expected ones."""
    try:
        assert read(plan) == expected
    except TableError as error:
        return str(error)
    return None


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)


def in_a_page(path, column=0):
    """A place in the values of a column's last page."""
    chunk = pq.read_metadata(path).row_group(0).column(column)
    return chunk.data_page_offset + chunk.total_compressed_size - 1


@pytest.fixture
def scored(tmp_path):
    """A table of scored parts, and the files that it was made from."""
    write_file(tmp_path / "source", "a", list(range(6)))
    refresh(tmp_path / "source", tmp_path / "table", 1)
    return tmp_path


def derive(folder):
    table = pa.Table.from_pylist([{"id": "a", "x": 1}, {"id": "b", "x": 2}], schema=INPUT)
    shutil.rmtree(folder / "derived", ignore_errors=True)
    write_if_changed(str(folder / "derived"), table, "v1")


@pytest.mark.promise("T24", "T25")
def test_no_byte_of_a_part_can_change_the_rows_without_a_word(tmp_path):
    """Each byte in front of the footer in turn, after planning: the rows are right, or the file is named."""
    derive(tmp_path)
    (part,) = (tmp_path / "derived").glob("part-*")
    plan = plan_of(tmp_path / "derived", tmp_path / "next", 1)
    content, expected = part.read_bytes(), read(plan)
    footer = len(content) - pq.read_metadata(part).serialized_size - 8
    noticed = 0
    for at in range(4, footer):
        flip(part, at)
        plan = plan_of(tmp_path / "derived", tmp_path / "next", 1)
        error = read_error(plan, expected)
        assert error is None or part.name in error
        noticed += error is not None
        for aside in (tmp_path / "derived").glob(".*"):
            aside.unlink()
        part.write_bytes(content)
    assert noticed > (footer - 4) / 2


@pytest.mark.promise("T26")
@pytest.mark.parametrize("column", [0, 1])
def test_a_damaged_scored_part_is_put_aside_and_made_again(scored, column):
    source, table = scored / "source", scored / "table"
    part = min(table.glob("part-*"))
    flip(part, in_a_page(part, column))
    with pytest.raises(
        TableError, match=rf"{part.name}', it is damaged: .*put aside as \..*refresh the table"
    ) as caught:
        read(plan_of(table, scored / "next", 1))
    assert "row" not in str(caught.value).replace("rows", "")
    _, computed = refresh(source, table, 1)
    assert computed == [part.name]
    assert rows_of(table) == expected_rows(source, 1)
    assert len(read(plan_of(table, scored / "next", 1))) == 6
    vacuum(str(table), retention_hours=0)
    assert not list(table.glob(".*"))


@pytest.mark.promise("T26")
def test_a_damaged_derived_part_is_put_aside(tmp_path):
    derive(tmp_path)
    (part,) = (tmp_path / "derived").glob("part-*")
    flip(part, in_a_page(part))
    with pytest.raises(TableError, match="put aside"):
        read(plan_of(tmp_path / "derived", tmp_path / "next", 1))
    assert not part.exists()


def test_a_preview_notices_damage(scored):
    part = min((scored / "table").glob("part-*"))
    flip(part, in_a_page(part))
    with pytest.raises(TableError, match=rf"{part.name}', it is damaged"):
        Table(str(scored / "table")).preview(10)


@pytest.mark.promise("T25")
def test_a_file_of_others_is_named_and_stays(tmp_path):
    write_file(tmp_path / "source", "a", list(range(6)))
    file = tmp_path / "source" / "a.parquet"
    pq.write_table(pq.read_table(file), file, write_page_checksum=True)
    flip(file, in_a_page(file))
    with pytest.raises(TableError, match=r"a\.parquet', it is damaged: .*Restore the file, or write it again"):
        read(plan_of(tmp_path / "source", tmp_path / "next", 1))
    assert file.exists()


@pytest.mark.promise("T24")
def test_files_without_checksums_are_read_as_before(tmp_path):
    write_file(tmp_path / "source", "a", [1, 2, 3])  # pyarrow writes none unless told to
    assert len(read(plan_of(tmp_path / "source", tmp_path / "next", 1))) == 3


def test_a_fault_in_passing_costs_no_part(scored):
    """The disk failed once: the part itself is whole."""
    part = min((scored / "table").glob("part-*"))
    error = damaged_file(str(part), OSError("Input/output error"))
    assert "delete the file and refresh" in str(error)
    assert part.exists()


def test_what_cannot_be_put_aside_is_named_with_the_way_out(scored, monkeypatch):
    """A table that this user may only read."""
    part = min((scored / "table").glob("part-*"))
    flip(part, in_a_page(part))

    def refuse(*_):
        raise PermissionError(13, "read-only")

    monkeypatch.setattr(module.Folder, "replace", refuse)
    with pytest.raises(TableError, match="delete the file and refresh the table that it belongs to"):
        read(plan_of(scored / "table", scored / "next", 1))


@pytest.mark.parametrize("same_size", [True, False])
def test_a_damaged_file_under_a_content_name_gives_way(tmp_path, same_size):
    """What a killed run left under the name is compared byte for byte before it is taken."""
    folder = Folder(str(tmp_path))
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / ".new.tmp")
    content = (tmp_path / ".new.tmp").read_bytes()
    final = f"part-{folder.sha256('.new.tmp')[:32]}-00000.parquet"
    (tmp_path / final).write_bytes(content[:10] + b"\0" * (len(content) - 10) if same_size else content[:10])
    publish_by_content(folder, describe_part(folder, ".new.tmp"), final)
    assert (tmp_path / final).read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == [final]


@pytest.mark.parametrize("modified", [None, 1], ids=["just written", "long ago"])
def test_what_another_run_publishes_again_stays_the_file_that_was_planned(tmp_path, modified):
    """Two runs write the same content. The first has committed it, and a third one reads it, when the second comes to
    its name: only a file that a vacuum could take for abandoned gets a new time."""
    folder, final = Folder(str(tmp_path)), f"part-{'0' * 32}-00000.parquet"
    for temporary in (final, ".new.tmp"):
        pq.write_table(pa.table({"x": [1, 2]}), tmp_path / temporary)
    if modified is not None:
        os.utime(tmp_path / final, (modified, modified))
    planned = file_identity(tmp_path / final)
    publish_by_content(folder, describe_part(folder, ".new.tmp"), final)
    assert (file_identity(tmp_path / final) == planned) == (modified is None)
    assert time.time() - (tmp_path / final).stat().st_mtime < 60
    assert [path.name for path in tmp_path.iterdir()] == [final]

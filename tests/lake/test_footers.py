"""Footers are read once a process, whatever is asked of them, and forgetting some is no reason to read all again."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lake_scorer import INPUT, conditions, write_file

from sparktorch_assets.file_identity import object_identity
from sparktorch_assets.lake.parquet import footers
from sparktorch_assets.lake.parquet.footer_memory import FooterMemory
from sparktorch_assets.lake.plan import make_plan
from sparktorch_assets.lake.table import Table
from sparktorch_assets.tasks import RowFilter


@pytest.fixture
def reads(monkeypatch):
    """The files whose footers were read, in turn."""
    found = []
    real = footers._read
    monkeypatch.setattr(
        footers, "_read", lambda file, objects, **how: (found.append(file.uri), real(file, objects, **how))[1]
    )
    return found


def test_the_plans_of_all_partitions_read_each_footer_once(tmp_path, reads):
    """What a partition asks for is applied to what is remembered."""
    for name in "abcde":
        write_file(tmp_path / "source", name, list(range(12)))
    for month in range(12):
        tests = conditions(INPUT, [RowFilter(column="x", value=month)])
        plan = make_plan(
            Table(str(tmp_path / "source")),
            Table(str(tmp_path / "t")),
            schema=INPUT,
            digest=str(month),
            target_rows=3,
            tests=tests,
        )
        assert len(plan.new) == 5  # one of the four row groups of each file
    assert len(reads) == len(set(reads)) == 5


def test_a_file_that_took_another_s_place_is_read_again(tmp_path, reads):
    write_file(tmp_path / "source", "a", [1, 2, 3])
    files = Table(str(tmp_path / "source")).files
    (first,) = footers.read_footers(files)
    write_file(tmp_path / "source", "a", [1, 2, 4])
    (second,) = footers.read_footers(files)
    assert first.digest != second.digest
    assert len(reads) == 2


def test_a_remembered_footer_holds_everything(tmp_path):
    """Decoded again, it equals the file's own."""
    write_file(tmp_path / "source", "a", [1, 2, 3, 4])
    (footer,) = footers.read_footers(Table(str(tmp_path / "source")).files)
    assert footer.metadata().equals(pq.read_metadata(tmp_path / "source" / "a.parquet"))


def test_a_second_pass_over_more_than_fits_finds_a_good_part_of_it():
    """With the oldest entry going first, it would find nothing."""
    memory = FooterMemory[int](800, most_bytes=800)
    hits = 0
    for _ in range(2):
        hits = 0
        for key in range(1000):
            hits += memory.get(str(key)) is not None
            memory.put(str(key), key, 1)
    assert hits > 400


def test_the_bound_holds_and_an_entry_is_replaced_by_its_successor():
    memory = FooterMemory[int](100, most_bytes=100)
    for size in (10, 100, 30):
        memory.put("a", size, size)
        assert memory.get("a") == size
    for key in range(50):
        memory.put(str(key), key, 7)
        assert memory._bytes == sum(size for _, size in memory._entries.values()) <= 100
        assert sorted(memory._order) == sorted(memory._entries)
    memory.put("large", 1, 101)
    assert memory.get("large") is None or memory._bytes <= 100


@pytest.mark.promise("T144")
def test_the_footers_of_a_table_that_is_larger_than_the_memory_fit_all_the_same(tmp_path, reads, monkeypatch):
    """Besides what it held at first; a warm plan opens no file."""
    monkeypatch.setattr(footers, "_memory", FooterMemory(5_000, most_bytes=1 << 20))
    for number in range(20):
        write_file(tmp_path / "source", f"{number:02}", [1, 2, 3])
    for _ in range(3):
        footers.read_footers(Table(str(tmp_path / "source")).files)
    assert len(reads) == 20


@pytest.mark.promise("T144")
def test_the_memory_grows_up_to_its_bound():
    memory = FooterMemory[int](100, most_bytes=500)
    for size, limit in ((200, 300), (50, 300), (1000, 500)):
        memory.reserve(size)
        for key in range(1000):
            memory.put(str(key), key, 1)
        assert memory._bytes == limit


@pytest.mark.promise("T144")
def test_twenty_thousand_files_fit():
    held = footers.Footer(
        digest="0" * 32,
        seen=object_identity(1, 1),
        schema=pa.schema([]),
        row_groups=(footers.RowGroup(rows=1, bytes=1),) * 10,
        packed=bytes(40_000),
    ).held_bytes
    assert 20_000 * held + (128 << 20) < footers._memory._most_bytes


def test_files_of_one_table_share_a_schema_in_memory(tmp_path):
    for name in "abc":
        write_file(tmp_path / "source", name, [1, 2, 3])
    files = Table(str(tmp_path / "source")).files
    footers.read_footers(files)
    assert len({id(footer.schema) for footer in footers.read_footers(files)}) == 1


def test_a_footer_that_changed_while_it_was_read_is_an_error(tmp_path, monkeypatch):
    write_file(tmp_path / "source", "a", [1])
    files = Table(str(tmp_path / "source")).files
    real = footers.footer_bytes

    def changed(source):
        raw = real(source)
        pq.write_table(pa.table({"id": ["b"], "x": [2]}), tmp_path / "source" / "a.parquet")
        return raw

    monkeypatch.setattr(footers, "footer_bytes", changed)
    with pytest.raises(footers.TableError, match="it was changed while its footer was read"):
        footers.read_footers(files)


@pytest.mark.promise("T144")
def test_of_very_many_files_bounds_are_remembered_only_if_they_are_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(footers, "_memory", FooterMemory(1 << 30, most_bytes=1 << 30))
    monkeypatch.setattr(footers, "_MANY_FILES", 2)
    for name in "abc":
        write_file(tmp_path, name, [1, 2])
    files = Table(str(tmp_path)).files
    plain = footers.read_footers(files)
    assert [footer.packed for footer in plain] == [b""] * 3
    assert len({id(footer.schema) for footer in plain}) == 1
    with_bounds = footers.read_footers(files, bounds=True)
    assert [footer.metadata().num_rows for footer in with_bounds] == [2] * 3
    assert [replace(footer, packed=b"") for footer in with_bounds] == plain
    few = footers.read_footers(files[:2])
    assert all(footer.packed for footer in few)

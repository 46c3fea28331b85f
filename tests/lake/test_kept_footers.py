"""A file next to the output saves the next process the reading of footers, and nothing depends on it."""

import os
import shutil
from dataclasses import astuple, replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from lake_scorer import INPUT, OUTPUT, carry_out, conditions, rows_of, write_file

from sparktorch_assets.file_identity import object_identity
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.parquet import footers
from sparktorch_assets.lake.parquet.footer_memory import FooterMemory
from sparktorch_assets.lake.parquet.kept import footer_table, kept_footers
from sparktorch_assets.lake.parquet.kept.kept_footers import NAME, KeptFooters
from sparktorch_assets.lake.plan import make_plan
from sparktorch_assets.lake.table import Table
from sparktorch_assets.lake.vacuum import vacuum
from sparktorch_assets.tasks import RowFilter

FILES = kept_footers._FEW_FILES + 1


class World:
    """An input of small files, its output, and the footers that were read."""

    def __init__(self, tmp_path, monkeypatch):
        self.source, self.output, self.read = tmp_path / "source", tmp_path / "output", []
        self.kept = self.output / NAME
        for number in range(FILES):
            write_file(self.source, f"{number:02}", [1, 2])
        real = footers._read
        monkeypatch.setattr(
            footers, "_read", lambda file, objects, **how: (self.read.append(file.path), real(file, objects, **how))[1]
        )
        self._monkeypatch = monkeypatch

    def plan(self, where=(), bounds=False):
        """What a process does that knows nothing yet."""
        self._monkeypatch.setattr(footers, "_memory", FooterMemory(1 << 30, most_bytes=1 << 30))
        del self.read[:]
        source, output = Table(str(self.source)), Table(str(self.output))
        KeptFooters(output.folder, bounds=False).recall(source.files)
        tests = conditions(INPUT, where)
        plan = make_plan(source, output, schema=OUTPUT, digest="d", target_rows=2, tests=tests)
        return plan, lambda: KeptFooters(output.folder, bounds=bounds).keep(source.files)

    def refresh(self):
        plan, keep = self.plan()
        carry_out(plan, self.output, 2)
        keep()


@pytest.fixture
def world(tmp_path, monkeypatch):
    return World(tmp_path, monkeypatch)


def named(plan):
    return sorted(plan.target)


@pytest.mark.promise("T141")
def test_the_next_process_reads_no_footer_of_an_unchanged_file(world):
    world.refresh()
    assert len(world.read) == FILES
    plan, _ = world.plan()
    assert world.read == []
    assert not plan.changes
    write_file(world.source, "00", [3, 4])
    write_file(world.source, "new", [5])
    plan, _ = world.plan()
    assert sorted(world.read) == ["00.parquet", "new.parquet"]
    assert len(plan.new) == 2


@pytest.mark.promise("T142")
@pytest.mark.parametrize("damage", ["deleted", "empty", "cut", "flipped", "foreign", "folder", "unreadable"])
def test_without_the_file_the_plan_is_the_same(world, damage):
    """Whatever is wrong with it; and the next run puts it right."""
    world.refresh()
    expected, content = named(world.plan()[0]), bytearray(world.kept.read_bytes())
    content[-200] ^= 1
    world.kept.unlink()
    if damage == "folder":
        world.kept.mkdir()
    elif damage == "unreadable":
        world.kept.symlink_to(world.output / "nothing")
    elif damage != "deleted":
        bodies = {"empty": b"", "cut": bytes(content[:-100]), "flipped": bytes(content), "foreign": b"PAR1" * 999}
        world.kept.write_bytes(bodies[damage])
    plan, keep = world.plan()
    assert named(plan) == expected
    assert len(world.read) == FILES
    keep()
    world.plan()
    assert len(world.read) == (FILES if damage == "folder" else 0)


def test_a_table_of_other_columns_behind_the_right_checksum_is_not_read(world, monkeypatch):
    world.refresh()
    monkeypatch.setattr(footer_table, "_SCHEMA", footer_table._SCHEMA.append(pa.field("more", pa.int64())))
    world.plan()
    assert len(world.read) == FILES


@pytest.mark.promise("T140")
def test_a_local_file_is_the_same_only_if_the_disk_says_so(world):
    """Another file of equal size and time, in its place."""
    world.refresh()
    path = world.source / "00.parquet"
    before = path.stat()
    write_file(world.source, "00", [1, 3])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    plan, _ = world.plan()
    assert world.read == ["00.parquet"]
    assert len(plan.new) == 1


@pytest.mark.promise("T142")
def test_planning_writes_nothing_and_few_files_are_not_worth_it(world):
    plan, keep = world.plan()
    assert not world.output.exists()
    keep()
    assert not world.output.exists()  # nothing was carried out
    carry_out(plan, world.output, 2)
    (world.source / "00.parquet").unlink()
    _, keep = world.plan()
    keep()
    assert not world.kept.exists()


def test_what_has_not_changed_is_not_written_again(world):
    world.refresh()
    before = world.kept.stat()
    _, keep = world.plan()
    keep()
    assert world.kept.stat() == before
    assert before.st_mode & 0o777 == 0o600


@pytest.mark.promise("T143")
def test_values_of_columns_are_kept_only_where_the_plan_needs_them(world):
    """An input may have columns that the readers of the output are not to see."""
    secret = pa.table({"id": ["a"], "x": pa.array([0], pa.int64()), "name": ["Zacharias Zwart"]})
    pq.write_table(secret, world.source / "00.parquet")
    world.refresh()
    kept = dict(footer_table.unpacked_footers(world.kept.read_bytes()))
    assert not any(footer.packed for footer in kept.values())
    assert b"Zwart" not in world.kept.read_bytes()
    month = [RowFilter(column="x", value=2)]
    _, keep = world.plan(month, bounds=True)
    assert len(world.read) == FILES  # the bounds were not kept
    keep()
    plan, _ = world.plan(month)
    assert world.read == []
    assert len(plan.unchanged) == FILES - 1  # by its bounds, the first file has no such row


def test_the_runs_of_several_partitions_add_to_what_is_kept(world):
    """Each of them reads the footers of its own files alone."""
    _, keep = world.plan()
    world.output.mkdir()
    files = Table(str(world.source)).files
    memory = footers._memory
    for some in (files[:5], files[5:]):
        footers._memory = FooterMemory(1 << 30, most_bytes=1 << 30)
        for file in some:
            footers._memory.put(file.uri, memory.get(file.uri), 1)
        keep()
    world.plan()
    assert world.read == []


@pytest.mark.promise("T142")
def test_the_file_is_hidden_from_readers_and_left_alone_by_a_vacuum(world):
    world.refresh()
    before = world.kept.stat()
    vacuum(str(world.output), retention_hours=0)
    DeltaTable(str(world.output)).vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False, full=True)
    assert world.kept.stat() == before
    expected = rows_of(world.output)
    shutil.rmtree(world.output / "_delta_log")
    files = Table(str(world.output)).files
    assert NAME not in {file.path for file in files}
    found = pa.concat_tables(pq.read_table(file.uri) for file in files)
    assert found.num_rows == len(expected)


def test_footers_come_back_as_they_were(world):
    world.refresh()
    found = {footer_table.name_of(file.uri): footers.remembered(file) for file in Table(str(world.source)).files}
    assert dict(footer_table.unpacked_footers(footer_table.packed_footers(found))) == found


def test_footers_of_very_many_files_come_back_batch_by_batch(world, monkeypatch):
    """Each batch has its own kinds of columns."""
    monkeypatch.setattr(footer_table, "_BATCH_FILES", 2)
    for number in range(3):
        rows = pa.table({"id": ["a"], f"x{number}": [1]})
        pq.write_table(rows, world.source / f"z{number}.parquet")
    files = Table(str(world.source)).files
    found = {
        footer_table.name_of(file.uri): footer for file, footer in zip(files, footers.read_footers(files), strict=True)
    }
    assert len({str(footer.schema) for footer in found.values()}) == 4
    packed = footer_table.packed_footers(found)
    assert dict(footer_table.unpacked_footers(packed)) == found
    assert footer_table.holds(packed, found)
    assert not footer_table.holds(packed, dict(list(found.items())[1:]))


def test_more_than_fits_is_left_out(world, monkeypatch):
    world.plan()
    world.output.mkdir()
    monkeypatch.setattr(kept_footers, "_MOST_HELD_BYTES", 10_000)
    files = Table(str(world.source)).files
    KeptFooters(Folder(str(world.output)), bounds=False).keep(files)
    assert 0 < world.kept.stat().st_size < 20_000
    world.plan()
    assert 0 < len(world.read) < FILES


@pytest.mark.promise("T140")
@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ((5, 1_700_000_000_123_000_000), (5, 1_700_000_000_000_000_000), True),  # S3 tells the second of one object
        ((5, 1_700_000_000_000_000_000), (5, 1_700_000_001_000_000_000), False),
        ((5, None), (5, 1_700_000_000_000_000_000), True),  # a file in a Delta log
        ((5, None), (6, 1_700_000_000_000_000_000), False),
        ((5, 1_700_000_000_000_000_000), (6, 1_700_000_000_000_000_000), False),
    ],
)
def test_objects_are_compared_by_size_and_second(one, other, same):
    found = object_identity(*one), object_identity(*other)
    assert found[0].agrees_with(found[1]) is found[1].agrees_with(found[0]) is same
    local = replace(found[0], host="here")
    assert not local.agrees_with(replace(local, inode=1))
    assert len(astuple(local)) == 6

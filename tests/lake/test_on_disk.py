"""What a commit names is on disk before it, and a writer that is killed at any step costs no row."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import killed_writers
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from lake_scorer import expected_rows, refresh, refresh_partitions, rows_of, write_file

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.derived import write_if_changed
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.log import commit
from sparktorch_assets.lake.table import table_version
from sparktorch_assets.lake.vacuum import vacuum

HERE = Path(__file__).parent


def before(folder, kind, *, first):
    """A folder in which a writer of that kind has something to do."""
    folder.mkdir()
    write_file(folder / "source", "a", list(range(4)))  # two shards
    if kind == "small_files":  # two shards as well: one of two files, and that of a larger one
        write_file(folder / "source", "b", list(range(4, 8)))
        write_file(folder / "source", "c", list(range(100)))
    if kind == "adopted":
        refresh(folder / "source", folder / "challenger", 2)
    if not first:
        if kind in ("scored", "row_ranges", "small_files", "adopted"):
            refresh(folder / "source", folder / "table", 1)
        elif kind == "partitions":
            refresh_partitions(folder / "source", folder / "table", 1, (1, 2, 3))
        elif kind == "derived_partition":
            for day in "12":
                write_if_changed(str(folder / "table"), pa.table({"a": [0]}), "v1", partition={"ds": day})
        else:
            write_if_changed(str(folder / "table"), pa.table({"a": [0]}), "v1")


def finish(folder, kind):
    """What the next run makes of it."""
    killed_writers.KINDS[kind](folder)
    return rows_of(folder / "table")


@pytest.mark.promise("T15")
@pytest.mark.parametrize("first", [True, False], ids=["new table", "old table"])
@pytest.mark.parametrize("kind", [*killed_writers.KINDS])
def test_kill_9_before_any_step_on_the_disk(tmp_path, kind, first):
    """The table is the old one or the new one, the next run finishes the work, and nothing else is left."""
    before(tmp_path / "untouched", kind, first=first)
    shutil.copytree(tmp_path / "untouched", tmp_path / "whole")
    new = finish(tmp_path / "whole", kind)
    old = None if first else rows_of(tmp_path / "untouched" / "table")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])}
    subprocess.run([sys.executable, killed_writers.__file__, kind, str(tmp_path)], env=environment, check=True)
    steps = [path for path in tmp_path.iterdir() if path.name.isdigit()]
    assert len(steps) > 8
    for folder in steps:
        found = rows_of(folder / "table") if table_version(str(folder / "table")) is not None else None
        assert found in (old, new)
        assert finish(folder, kind) == new
        vacuum(str(folder / "table"), retention_hours=0)
        listed = {Path(uri).name for uri in DeltaTable(str(folder / "table")).file_uris()}
        left = {
            path.name for path in (folder / "table").rglob("*") if path.is_file() and "_delta_log" not in path.parts
        }
        assert left == listed
        assert rows_of(folder / "table") == new


@pytest.fixture
def synced(monkeypatch):
    """Inodes of files and folders, in the order in which they were brought to disk; a folder's with its names."""
    found, fsync = [], os.fsync

    def record(file):
        path = Path(f"/proc/self/fd/{file}").readlink()
        names = frozenset(inner.name for inner in path.iterdir()) if path.is_dir() else None
        found.append((os.fstat(file).st_ino, names))
        fsync(file)

    monkeypatch.setattr(os, "fsync", record)
    return found


@pytest.mark.promise("T21")
@pytest.mark.parametrize("first", [True, False], ids=["new table", "old table"])
@pytest.mark.parametrize("kind", [*killed_writers.KINDS])
def test_parts_and_their_names_are_on_disk_before_the_commit_and_the_log_after_it(
    tmp_path, monkeypatch, synced, kind, first
):
    before(tmp_path / "work", kind, first=first)
    table, checked = tmp_path / "work" / "table", []
    synced.clear()
    check = commit.sync_names

    def look(folder, paths):
        check(folder, paths)
        for path in paths:
            assert ((table / path).stat().st_ino, None) in synced
            for lying in ((table / path), *(table / path).parents[: path.count("/")]):  # a partition's folder, too
                assert any(
                    inode == lying.parent.stat().st_ino and lying.name in (names or ()) for inode, names in synced
                )
            checked.append(path)

    monkeypatch.setattr(commit, "sync_names", look)
    finish(tmp_path / "work", kind)
    assert checked
    log = table / "_delta_log"
    newest = max(log.glob("*.json"))
    assert (newest.stat().st_ino, None) in synced
    assert any(inode == log.stat().st_ino and newest.name in (names or ()) for inode, names in synced)
    if first:
        assert any(inode == table.stat().st_ino and "_delta_log" in (names or ()) for inode, names in synced)
        assert any(inode == table.parent.stat().st_ino and "table" in (names or ()) for inode, names in synced)


@pytest.mark.promise("T181")
def test_a_checkpoint_is_brought_to_disk_with_its_commit(tmp_path, synced):
    """Every ten commits; a reader starts from the one that `_last_checkpoint` names."""
    table = tmp_path / "table"
    for number in range(11):
        if number == 10:
            synced.clear()
        write_if_changed(str(table), pa.table({"a": [number % 2]}), str(number))
    checkpoint = [path for path in (table / "_delta_log").iterdir() if "checkpoint" in path.name]
    assert len(checkpoint) == 2
    assert {path.stat().st_ino for path in checkpoint} <= {inode for inode, _ in synced}


@pytest.mark.promise("T22")
def test_an_entry_that_a_power_cut_left_empty_changes_nothing_and_heals(tmp_path):
    before(tmp_path / "work", "derived", first=False)
    old = rows_of(tmp_path / "work" / "table")
    new = finish(tmp_path / "work", "derived")
    max((tmp_path / "work" / "table" / "_delta_log").glob("*.json")).write_bytes(b"")
    assert rows_of(tmp_path / "work" / "table") == old
    assert finish(tmp_path / "work", "derived") == new


def test_a_part_that_is_deleted_during_the_commit_is_noticed_and_heals(tmp_path, monkeypatch):
    """Between the last look at the files and the commit lies a moment in which a vacuum may come."""
    before(tmp_path / "work", "scored", first=False)
    table = tmp_path / "work" / "table"
    check = commit.sync_names

    def deleted_meanwhile(folder, paths):
        check(folder, paths)
        (table / min(paths)).unlink()

    monkeypatch.setattr(commit, "sync_names", deleted_meanwhile)
    with pytest.raises(TableError, match=r"and is missing.*Version 1 lists it; run again to write it again"):
        finish(tmp_path / "work", "scored")
    monkeypatch.undo()
    assert finish(tmp_path / "work", "scored") == expected_rows(tmp_path / "work" / "source", 2)


@pytest.mark.promise("T27")
@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_of_writers_at_once_exactly_one_gets_the_name(tmp_path, monkeypatch, links):
    """Whether or not the disk knows hard links: nobody's file is replaced by another's."""
    if not links:

        def refuse(*_):
            raise OSError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    folder = Folder(str(tmp_path))
    for number in range(50):
        names = [f"{number}-{writer}.tmp" for writer in range(4)]
        for name in names:
            (tmp_path / name).write_text(name)
        with ThreadPoolExecutor(4) as pool:
            won = list(pool.map(lambda name: folder.publish(name, f"{number}.final"), names))  # noqa: B023
        assert won.count(True) == 1
        assert (tmp_path / f"{number}.final").read_text() == names[won.index(True)]
        assert (tmp_path / names[won.index(True)]).exists() is False

"""Processes that are killed, processes that race, readers that look on: the table is the old one or the new one."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lake_scorer import expected_rows, plan_of, refresh, rows_of, write_file

from sparktorch_assets.errors import CommitConflictError, DiskFullError, TableError
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.log import commit
from sparktorch_assets.lake.log.commit import commit_parts
from sparktorch_assets.lake.parts.file import PartFile, describe_part
from sparktorch_assets.lake.table import Table, table_version
from sparktorch_assets.lake.vacuum import vacuum

STEPS = [("planned", 1), ("writing", 2), ("part", 1), ("part", 3), ("before commit", 1), ("after commit", 1)]

PROGRAM = """
import os, signal, sys
from pathlib import Path
from lake_scorer import refresh
source, table, weight, at, times = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4], int(sys.argv[5])
def step(name):
    global times
    times -= name == at
    if times == 0 and name == at:
        os.kill(os.getpid(), signal.SIGKILL)
refresh(source, table, weight, step)
"""


def process(*arguments) -> subprocess.Popen:
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])}
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *map(str, arguments)], env=environment)


@pytest.mark.promise("T7", "T15")
@pytest.mark.parametrize("first", [True, False], ids=["new table", "old table"])
@pytest.mark.parametrize(("step", "times"), STEPS)
def test_kill_9_at_any_step_costs_only_what_was_not_finished(tmp_path, step, times, first):
    source, table = tmp_path / "source", tmp_path / "table"
    write_file(source, "a", list(range(12)))  # four shards
    if not first:
        refresh(source, table, 1)
    killed = process(source, table, 2, step, times)
    assert killed.wait(60) == -signal.SIGKILL
    finished = {"planned": 0, "writing": times - 1, "part": times}.get(step, 4)
    if step != "after commit":
        assert (rows_of(table) if not first else table_version(str(table))) == (
            expected_rows(source, 1) if not first else None
        )
    _, computed = refresh(source, table, 2)
    assert len(computed) == 4 - finished
    assert rows_of(table) == expected_rows(source, 2)
    vacuum(str(table), retention_hours=0)
    left = [path.name for path in table.iterdir() if path.is_file()]
    assert len(left) == 4
    assert rows_of(table) == expected_rows(source, 2)


@pytest.mark.promise("T18")
def test_processes_that_race_lose_and_double_nothing(tmp_path):
    """Four processes with one plan, on a table that does not exist yet."""
    source, table = tmp_path / "source", tmp_path / "table"
    write_file(source, "a", list(range(30)))
    racers = [process(source, table, 2, "never", 1) for _ in range(4)]
    assert [racer.wait(60) for racer in racers] == [0] * 4
    assert rows_of(table) == expected_rows(source, 2)
    assert table_version(str(table)) == 0


@pytest.mark.parametrize("weight", [2, 3], ids=["the same", "something else"])
def test_a_commit_that_slips_in_at_the_last_moment_is_noticed(tmp_path, monkeypatch, weight):
    """Between our look at the version and our write: delta-rs alone would merge both commits."""
    source, table = tmp_path / "source", tmp_path / "table"
    write_file(source, "a", list(range(6)))
    refresh(source, table, 1)
    write_file(source, "b", [1, 2])
    open_delta = commit.open_delta

    def slow_open(folder):
        opened = open_delta(folder)
        monkeypatch.setattr(commit, "open_delta", open_delta)
        refresh(source, table, weight)
        return opened

    monkeypatch.setattr(commit, "open_delta", slow_open)
    if weight == 2:
        assert refresh(source, table, 2)[0].changed is False
    else:
        with pytest.raises(CommitConflictError, match="in conflict with this plan"):
            refresh(source, table, 2)
    assert rows_of(table) == expected_rows(source, weight)


@pytest.mark.promise("T11")
def test_readers_see_two_row_sets_only(tmp_path):
    source, table = tmp_path / "source", tmp_path / "table"
    write_file(source, "a", list(range(60)))
    refresh(source, table, 1)
    seen, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            seen.append(rows_of(table))

    def step(_: str) -> None:  # at each step, let a reader have a whole look
        looked = len(seen)
        while len(seen) < looked + 2:
            time.sleep(0.001)

    reader = threading.Thread(target=read)
    reader.start()
    refresh(source, table, 2, step)
    stop.set()
    reader.join()
    old, new = expected_rows(source, 1), expected_rows(source, 2)
    assert {rows == new for rows in seen} == {True, False}
    assert all(rows in (old, new) for rows in seen)
    assert sorted(seen, key=lambda rows: rows == new) == seen  # once new, never old again


@pytest.mark.promise("T50", "T51")
def test_vacuum_keeps_what_its_retention_covers(tmp_path):
    source, table = tmp_path / "source", tmp_path / "table"
    write_file(source, "a", [1, 2, 3])
    refresh(source, table, 1)
    refresh(source, table, 2)
    stranger = table / "notes.txt"
    stranger.write_text("mine")
    assert vacuum(str(table)).files == ()
    assert rows_of(table, version=0) == expected_rows(source, 1)
    would = vacuum(str(table), retention_hours=0, dry_run=True)
    assert len(would.files) == 1
    assert rows_of(table, version=0) == expected_rows(source, 1)
    assert vacuum(str(table), retention_hours=0) == would
    assert rows_of(table) == expected_rows(source, 2)
    assert stranger.exists()
    assert table_version(str(table)) == 1  # no commit of its own


@pytest.mark.promise("T50")
def test_a_part_written_long_ago_and_removed_just_now_stays(tmp_path):
    source, table = tmp_path / "source", tmp_path / "table"
    write_file(source, "a", [1, 2, 3])
    refresh(source, table, 1)
    for path in table.rglob("*"):
        os.utime(path, (1, 1))
    refresh(source, table, 2)
    assert vacuum(str(table), retention_hours=24).files == ()
    assert rows_of(table, version=0) == expected_rows(source, 1)


def test_vacuum_of_nonsense_is_refused(tmp_path):
    with pytest.raises(TableError, match="must not be below 0"):
        vacuum(str(tmp_path), retention_hours=-1)
    with pytest.raises(TableError, match="no Delta table"):
        vacuum(str(tmp_path))


def test_commits_that_make_no_sense_are_refused_and_change_nothing(tmp_path):
    source, table = tmp_path / "source", tmp_path / "table"
    write_file(source, "a", [1, 2, 3, 4])
    refresh(source, table, 1)
    plan = plan_of(source, table, 1)
    common = {"add": [], "metadata": {}, "read_version": 0}
    with pytest.raises(TableError, match="no such part"):
        commit_parts(str(table), plan.schema, remove=["part-x.parquet"], **common)
    narrow = plan.schema.remove(2)
    with pytest.raises(TableError, match="2 of its parts would keep the old ones"):
        commit_parts(str(table), narrow, remove=[], **common)
    ghost = PartFile(path="ghost.parquet", size_bytes=1, modified_ms=1, rows=1, stats="{}")
    with pytest.raises(TableError, match="should have 1 bytes and is missing"):
        commit_parts(str(table), plan.schema, remove=[], add=[ghost], metadata={}, read_version=0)
    assert table_version(str(table)) == 0


def test_metadata_travels_with_the_commit(tmp_path):
    source, table = tmp_path / "source", tmp_path / "table"
    write_file(source, "a", [1])
    refresh(source, table, 1)
    assert set(Table(str(table)).metadata) == {"data_version", "published", "published_versions", "tally"}
    assert Table(str(tmp_path / "none")).metadata == {}


@pytest.mark.promise("T57")
def test_vacuum_clears_away_what_a_killed_materialization_left(tmp_path):
    """Numbered parts, their temporary files and staging folders go once they are old; committed, young and others' stay."""
    table = tmp_path / "things"
    hexes = ["0" * 32, "1" * 32, "2" * 32]
    staging = [f"_staging-00000000-{number * 24}" for number in "01"]  # of another host
    rows = pa.table({"x": [1]})
    table.mkdir()
    names = [f"part-{hexes[0]}-00000.parquet", f"part-{hexes[0]}-00001.parquet", f"part-{hexes[1]}-00000.parquet"]
    left = [f".{hexes[2]}.tmp", f"{staging[0]}/rows/part-x.parquet", f"{staging[0]}/rows/_SUCCESS"]
    others = ["mine.tmp", "_staging-mine/a.parquet", f"{staging[1]}/rows/part-young.parquet"]
    for name in [*names, *left, *others]:
        (table / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, table / name)
        if "young" not in name:
            os.utime(table / name, (1, 1))
    os.utime(table / staging[0], (1, 1))
    parts = [describe_part(Folder(str(table)), name) for name in names[:2]]
    commit_parts(str(table), rows.schema, add=parts[:1], remove=[], metadata={}, read_version=None)
    commit_parts(str(table), rows.schema, add=parts[1:], remove=names[:1], metadata={}, read_version=0)
    assert vacuum(str(table), retention_hours=1).files == tuple(sorted([names[2], *left]))
    assert not (table / staging[0]).exists()
    for path in (table / "_delta_log").iterdir():
        os.utime(path, (1, 1))
    assert vacuum(str(table), retention_hours=1).files == (names[0],)  # the commit that removed it is old now, too
    assert all((table / name).exists() for name in [names[1], *others])
    assert table_version(str(table)) == 1


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB of its own; only root can make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False
    )
    if not done or done.returncode:
        pytest.skip("cannot mount a small file system here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_is_full_fails_the_run_and_not_the_table(small_disk, tmp_path):
    """The message names the part and the room; temporary files go, finished parts stay, and count once there is room."""
    source, table = tmp_path / "source", small_disk / "table"
    write_file(source, "a", [1, 2, 3])
    refresh(source, table, 1)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 1_000_000)
    for name in ("b", "c", "d"):
        write_file(source, name, [hash((name, row)) for row in range(20_000)], group_rows=20_000)
    with pytest.raises(DiskFullError, match=r"no space left to write .*/disk/table/part-.*: [\d,]+ bytes free"):
        refresh(source, table, 1)
    assert rows_of(table) == [("a-0", 1, 1), ("a-1", 2, 2), ("a-2", 3, 3)]
    assert not list(table.glob(".*"))
    ballast.unlink()
    finished = len(list(table.glob("part-*"))) - 1
    _, computed = refresh(source, table, 1)
    assert (finished > 0, len(computed)) == (True, 3 - finished)
    assert rows_of(table) == expected_rows(source, 1)

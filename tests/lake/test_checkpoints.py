"""Checkpoints every few commits, and old entries that go: the log gets shorter, and nobody misses anything."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import deltalake
import killed_writers
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st
from lake_scorer import expected_rows, refresh, refresh_partitions, rows_of, write_file
from s3_store import s3_store

from sparktorch_assets.lake.derived import write_if_changed
from sparktorch_assets.lake.files.folder import Folder, FolderEntry
from sparktorch_assets.lake.log import checkpoint, expiry
from sparktorch_assets.lake.log.expiry import KEPT_COMMITS, expired
from sparktorch_assets.lake.table import Table
from sparktorch_assets.lake.vacuum import vacuum

sys.path.insert(0, str(Path(__file__).parents[1] / "reference"))
from readers import read_all

sys.path.pop(0)

HERE = Path(__file__).parent
OLD_S = time.time() - 40 * 86_400


def commits(table, numbers):
    """One version after the other, each of one row."""
    for number in numbers:
        write_if_changed(str(table), pa.table({"a": [number]}), str(number))


def log_of(table, ending):
    """The versions of the log's files with that ending."""
    return sorted(int(path.name[:20]) for path in (table / "_delta_log").glob(f"*[0-9].{ending}"))


def age(table, versions):
    """Make entries of the log old."""
    for path in (table / "_delta_log").iterdir():
        if path.name[:20].isdecimal() and int(path.name[:20]) in versions:
            os.utime(path, (OLD_S, OLD_S))


@pytest.mark.promise("T173")
def test_every_tenth_version_has_a_checkpoint_and_every_reader_reads_it(tmp_path):
    """Also where a path has characters of URLs; the commits before it are not needed any more."""
    table = tmp_path / "a b#c?d" / "table"
    commits(table, range(21))
    assert log_of(table, "checkpoint.parquet") == [10, 20]
    for path in (table / "_delta_log").glob("*.json"):
        if int(path.stem) < 20:
            path.unlink()
    assert rows_of(table) == [(20,)]
    assert Table(str(table)).metadata["made_from"] == "20"
    for reader, rows in read_all(table).items():
        assert rows.to_pylist() == [{"a": 20}], reader


@pytest.mark.promise("T173")
def test_parts_are_the_same_with_and_without_a_checkpoint(tmp_path):
    """With their statistics and partitions, so that nothing is planned anew."""
    source, table = tmp_path / "source", tmp_path / "table"
    write_file(source, "a", [1, 2, 2, 3, 3, 3])
    refresh_partitions(source, table, 1, (1, 2, 3))
    before = Table(str(table))
    stats = pa.table(DeltaTable(str(table)).get_add_actions(flatten=True))
    before.snapshot
    DeltaTable(str(table)).create_checkpoint()
    after = Table(str(table))
    assert after.snapshot == before.snapshot
    assert pa.table(DeltaTable(str(table)).get_add_actions(flatten=True)).sort_by("path") == stats.sort_by("path")
    assert after.data_version == before.data_version


@pytest.mark.promise("T173")
def test_the_tables_own_interval_counts(tmp_path):
    table = tmp_path / "table"
    commits(table, [0])
    DeltaTable(str(table)).alter.set_table_properties({"delta.checkpointInterval": "3"})
    commits(table, range(1, 6))
    assert log_of(table, "checkpoint.parquet") == [3, 6]


@pytest.mark.promise("T174")
def test_a_large_commit_has_a_checkpoint_at_once(tmp_path, monkeypatch):
    """The first commit of a large table would be read by everyone, as JSON, until the tenth."""
    source, table = tmp_path / "source", tmp_path / "table"
    write_file(source, "a", list(range(300)))  # a hundred parts
    monkeypatch.setattr(checkpoint, "_LARGE_BYTES", 25_000)
    refresh(source, table, 1)
    assert log_of(table, "checkpoint.parquet") == [0]
    write_file(source, "b", [1])
    refresh(source, table, 1)
    assert log_of(table, "checkpoint.parquet") == [0]
    assert rows_of(table) == expected_rows(source, 1)


@pytest.mark.promise("T175")
def test_a_checkpoint_that_fails_fails_no_commit(tmp_path, caplog):
    """Something lies where the checkpoint should be; the next one that is due is written."""
    table = tmp_path / "table"
    commits(table, range(10))
    (table / "_delta_log" / f"{10:020}.checkpoint.parquet" / "in the way").mkdir(parents=True)
    commits(table, [10])
    assert rows_of(table) == [(10,)]
    assert "could not be shortened after version 10, which is committed nevertheless" in caplog.text
    shutil.rmtree(table / "_delta_log" / f"{10:020}.checkpoint.parquet")
    commits(table, range(11, 21))
    assert log_of(table, "checkpoint.parquet") == [20]


@pytest.fixture(scope="module")
def long_log(tmp_path_factory):
    """A table of 80 versions."""
    table = tmp_path_factory.mktemp("long") / "table"
    commits(table, range(80))
    return table


@pytest.fixture
def table(long_log, tmp_path):
    """The same; the first 70 versions are 40 days old."""
    table = Path(shutil.copytree(long_log, tmp_path / "table"))
    age(table, range(70))
    return table


@pytest.mark.promise("T176", "T179", "T180")
def test_old_entries_go_and_every_version_that_readers_may_go_back_to_stays(table):
    commits(table, [80])
    assert log_of(table, "json") == list(range(30, 81))
    assert log_of(table, "checkpoint.parquet") == [30, 40, 50, 60, 70, 80]
    assert len(list(Table(str(table)).commits())) >= KEPT_COMMITS
    for version in (30, 35, 69, 70, 79, 80):  # the last one of 40 days ago was read until version 70 was made
        assert rows_of(table, version=version) == [(version,)]
    with pytest.raises(deltalake.exceptions.DeltaError):
        DeltaTable(str(table), version=29)


@pytest.mark.promise("T179")
@pytest.mark.parametrize(
    ("properties", "first"),
    [
        ({"delta.logRetentionDuration": "interval 60 days"}, 0),
        ({"delta.logRetentionDuration": "interval 1 week"}, 40),
        ({"delta.logRetentionDuration": "three fortnights"}, 0),
        ({"delta.enableExpiredLogCleanup": "false"}, 0),
        ({"delta.enableExpiredLogCleanup": "true"}, 40),
    ],
)
def test_the_tables_own_retention_counts(long_log, tmp_path, properties, first):
    table = Path(shutil.copytree(long_log, tmp_path / "table"))
    DeltaTable(str(table)).alter.set_table_properties(properties, raise_if_not_exists=False)  # version 80
    age(table, range(70))
    commits(table, range(81, 91))
    assert log_of(table, "json")[0] == first
    assert rows_of(table) == [(90,)]


@pytest.mark.promise("T181")
def test_nothing_goes_before_a_checkpoint_that_cannot_be_read(table, caplog):
    """It may have been cut short by a power failure."""
    for path in (table / "_delta_log").glob("*30.checkpoint.parquet"):
        path.write_bytes(path.read_bytes()[:100])
        os.utime(path, (OLD_S, OLD_S))
    commits(table, [80])
    assert log_of(table, "json") == list(range(81))
    assert "could not be shortened" in caplog.text


@given(
    ages=st.lists(st.integers(0, 60), min_size=1, max_size=90),
    interval=st.integers(1, 20),
    first=st.integers(0, 5),
    cutoff=st.integers(0, 61),
)
def test_whatever_is_deleted_the_needed_versions_can_be_read_from_what_is_left(ages, interval, first, cutoff):
    """Whatever clocks said: ages need not fall from version to version."""
    count = len(ages)
    entries = [
        FolderEntry(path=f"_delta_log/{first + number:020}.json", size_bytes=1, modified_ms=-days)
        for number, days in enumerate(ages)
    ]
    checkpoints = [
        version for version in range(first, first + count) if version % interval == 0 or version == first > 0
    ]
    entries += [
        FolderEntry(path=f"_delta_log/{version:020}.checkpoint.parquet", size_bytes=1, modified_ms=0)
        for version in checkpoints
    ]
    found = expired(entries, -cutoff)
    if found is None:
        return
    anchor, gone = found
    left = {entry.path for entry in entries} - set(gone)
    commits = {version for version in range(first, first + count) if f"_delta_log/{version:020}.json" in left}
    assert f"_delta_log/{anchor:020}.checkpoint.parquet" in left
    assert commits == set(range(anchor, first + count))
    assert len(commits) >= KEPT_COMMITS
    young = [first + number for number, days in enumerate(ages) if -days > -cutoff]
    assert not young or min(young) > anchor  # also the version that was the latest one until then
    assert gone == sorted(gone)


@pytest.mark.promise("T177")
def test_kill_9_before_any_step_of_a_commit_that_shortens_the_log(long_log, tmp_path):
    """The table is the old one or the new one, and the next run, and the one after it, find all they need."""
    age(Path(shutil.copytree(long_log, tmp_path / "untouched" / "table")), range(70))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])}
    subprocess.run([sys.executable, killed_writers.__file__, "eightieth", str(tmp_path)], env=environment, check=True)
    steps = [path for path in tmp_path.iterdir() if path.name.isdigit()]
    assert len(steps) > 30  # the deletions among them
    for folder in steps:
        found = folder / "table"
        assert rows_of(found) in ([(79,)], [(80,)])
        commits(found, [80])
        assert rows_of(found) == [(80,)]
        assert rows_of(found, version=75) == [(75,)]
        commits(found, range(81, 91))
        assert log_of(found, "json") == list(range(40, 91))
        assert rows_of(found) == [(90,)]


RACER = """
import sys
import pyarrow as pa
from sparktorch_assets.errors import CommitConflictError
from sparktorch_assets.lake.derived import write_if_changed
from sparktorch_assets.lake.log import checkpoint, expiry
expiry.KEPT_COMMITS = 5
checkpoint.retention_ms = lambda properties: 0
won = 0
while won < 30:
    try:
        write_if_changed(sys.argv[1], pa.table({"a": [won]}), f"{sys.argv[2]} {won}")
    except CommitConflictError:
        continue
    won += 1
"""


@pytest.mark.slow
@pytest.mark.promise("T177")
def test_processes_that_shorten_one_log_at_once_lose_nothing(tmp_path):
    """While a reader looks on. The entries go as soon as there are five younger ones."""
    table = tmp_path / "table"
    commits(table, [0])
    seen, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            seen.append(len(rows_of(table)))

    reader = threading.Thread(target=read)
    reader.start()
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    racers = [subprocess.Popen([sys.executable, "-c", RACER, str(table), name], env=environment) for name in "ab"]
    assert [racer.wait(120) for racer in racers] == [0, 0]
    stop.set()
    reader.join()
    assert set(seen) == {1}
    assert Table(str(table)).version == 60
    assert log_of(table, "json") == list(range(50, 61))
    commits(table, [99])
    assert rows_of(table) == [(99,)]


@pytest.mark.promise("T178")
def test_our_metadata_outlive_a_log_that_others_have_shortened(tmp_path):
    """Ten changes of a property, a checkpoint, and all commits before it are gone, ours among them."""
    source, table = tmp_path / "source", tmp_path / "table"
    write_file(source, "a", [1, 2, 3, 4])
    refresh(source, table, 1)
    before = Table(str(table)).metadata
    assert before
    shorten_by_others(table)
    assert log_of(table, "json") == [10]
    assert Table(str(table)).metadata == before
    assert refresh(source, table, 1) == (None, [])
    write_file(source, "b", [5])
    committed, computed = refresh(source, table, 1)
    assert (len(computed), committed.tally.rows) == (1, 5)
    assert Table(str(table)).metadata != before


def shorten_by_others(table):
    """As another writer does that knows nothing of us."""
    for number in range(10):
        DeltaTable(str(table)).alter.set_table_properties({"x.number": str(number)}, raise_if_not_exists=False)
    delta = DeltaTable(str(table))
    delta.create_checkpoint()
    for path in (table / "_delta_log").glob("*.json"):
        if int(path.stem) < delta.version():
            path.unlink()


@pytest.mark.promise("T178")
@pytest.mark.parametrize("damage", ["missing", "empty", "half", "not ours"])
def test_metadata_that_are_lost_nevertheless_cost_time_and_no_row(tmp_path, damage):
    source, table = tmp_path / "source", tmp_path / "table"
    write_file(source, "a", [1, 2, 3, 4])
    refresh(source, table, 1)
    shorten_by_others(table)
    kept = table / "_delta_log" / "_sparktorch_assets"
    if damage == "missing":
        kept.unlink()
    else:
        kept.write_bytes({"empty": b"", "half": kept.read_bytes()[:99], "not ours": b"[1]"}[damage])
    assert Table(str(table)).metadata == {}
    assert refresh(source, table, 1) == (None, [])
    write_file(source, "b", [5])
    committed, _ = refresh(source, table, 1)
    assert committed.tally.rows == 5
    assert rows_of(table) == expected_rows(source, 1)


def test_a_vacuum_of_a_shortened_log_keeps_what_readable_versions_list(table):
    """Also if its retention is longer than that of the log."""
    commits(table, [80])
    for path in table.glob("part-*"):
        os.utime(path, (OLD_S, OLD_S))
    vacuum(str(table), retention_hours=24 * 35)
    for version in (70, 80):
        assert rows_of(table, version=version) == [(version,)]


def test_a_commit_that_another_process_deletes_is_taken_for_older_than_the_log(table, monkeypatch):
    """Between the listing of the log and the reading of the commit."""
    files, first = Folder.files, f"_delta_log/{0:020}.json"

    def deleted_meanwhile(folder, path="", **options):
        found = list(files(folder, path, **options))
        folder.delete(first)
        return found

    monkeypatch.setattr(Folder, "files", deleted_meanwhile)
    assert [commit.get("made_from") for commit in Table(str(table)).commits()] == [
        *(str(number) for number in range(79, 0, -1)), None,
    ]  # fmt: skip
    vacuum(str(table), retention_hours=24 * 35)


@pytest.mark.slow
@pytest.mark.promise("T173", "T176")
def test_a_log_in_a_store_is_shortened_as_well(monkeypatch):
    monkeypatch.setattr(expiry, "KEPT_COMMITS", 5)
    monkeypatch.setattr(checkpoint, "retention_ms", lambda properties: 0)
    with s3_store() as store:
        table = store.uri("log/table")
        for number in range(21):
            write_if_changed(table, pa.table({"a": [number]}), str(number))
        names = {entry.path.rpartition("/")[2] for entry in Folder(table).files("_delta_log")}
        assert sorted(name for name in names if name.endswith("json")) == [f"{n:020}.json" for n in range(10, 21)]
        assert {f"{10:020}.checkpoint.parquet", f"{20:020}.checkpoint.parquet", "_last_checkpoint"} <= names
        assert DeltaTable(table).to_pyarrow_table().to_pylist() == [{"a": 20}]
        assert Table(table).metadata["made_from"] == "20"
        write_if_changed(table, pa.table({"a": [21]}), "21")
        assert Table(table).version == 21

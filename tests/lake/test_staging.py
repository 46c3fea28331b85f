"""A staging folder belongs to the run that made it, for as long as that run lives, and to nobody after that."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lake_scorer import refresh, write_file

from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.parts import staging as module
from sparktorch_assets.lake.parts.staging import staging_folder
from sparktorch_assets.lake.vacuum import vacuum

PROGRAM = """
import sys, time
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.parts.staging import staging_folder
with staging_folder(Folder(sys.argv[1])) as path:
    (open(f"{sys.argv[1]}/{path}/rows.parquet", "w")).close()
    print(path, flush=True)
    time.sleep(600)
"""
DAY_S = 24 * 3600


@pytest.fixture
def table(tmp_path):
    write_file(tmp_path / "source", "a", [1, 2, 3])
    refresh(tmp_path / "source", tmp_path / "table", 1)
    return tmp_path / "table"


@pytest.fixture
def owner(table):
    """Another process at work in a staging folder, and that folder."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(table)], stdout=subprocess.PIPE, text=True)
    yield process, table / process.stdout.readline().strip()
    process.kill()
    process.wait()
    process.stdout.close()


def age(path, seconds):
    then = time.time() - seconds
    for found in (path, *path.rglob("*")):
        os.utime(found, (then, then))


def stage(table):
    with staging_folder(Folder(str(table))):
        pass


CLEANERS = {
    "the next run": stage,
    "a vacuum": lambda table: vacuum(str(table)),
    "a vacuum of everything": lambda table: vacuum(str(table), retention_hours=0),
}


@pytest.mark.promise("T55")
@pytest.mark.parametrize("clean", CLEANERS.values(), ids=CLEANERS)
def test_a_run_of_thirty_hours_keeps_its_folder_and_a_killed_one_loses_it_at_once(table, owner, clean):
    process, folder = owner
    age(folder, 30 * 3600)
    clean(table)
    assert list(folder.iterdir())
    age(folder, 0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    clean(table)
    assert not folder.exists()


@pytest.mark.promise("T56")
@pytest.mark.parametrize("clean", CLEANERS.values(), ids=CLEANERS)
@pytest.mark.parametrize("why", ["another host", "no locks here"])
def test_where_no_lock_tells_the_last_write_does(table, monkeypatch, clean, why):
    """Not the age of the folder: a run may write for days."""
    if why == "no locks here":

        def refuse(*_):
            raise OSError(errno.ENOLCK, "no locks available")

        monkeypatch.setattr(module.fcntl, "flock", refuse)
        folder = table / f"_staging-{module._host()}-{'0' * 24}"
    else:
        folder = table / f"_staging-00000000-{'0' * 24}"
    inner = folder / "rows"
    inner.mkdir(parents=True)
    pq.write_table(pa.table({"x": [1]}), inner / "young.parquet")
    os.utime(folder, (1, 1))
    if clean is not CLEANERS["a vacuum of everything"]:
        clean(table)
        assert (inner / "young.parquet").exists()
    age(folder, 8 * DAY_S)
    clean(table)
    assert not folder.exists()


def test_runs_of_one_process_do_not_take_each_others_folders(table):
    folder = Folder(str(table))
    with staging_folder(folder) as one, staging_folder(folder) as other:
        vacuum(str(table), retention_hours=0)
        stage(table)
        assert folder.is_folder(one)
        assert folder.is_folder(other)
    assert not list(table.glob("_staging-*"))


@pytest.mark.slow
def test_a_folder_is_its_owners_from_the_first_moment(table):
    """Runs begin while others clear away, over and over: none loses its folder."""
    folder, stop, lost = Folder(str(table)), threading.Event(), []

    def clear():
        while not stop.is_set():
            module._delete_abandoned(folder)

    cleaners = [threading.Thread(target=clear) for _ in range(3)]
    for cleaner in cleaners:
        cleaner.start()
    for _ in range(300):
        with staging_folder(folder) as path:
            try:
                (table / path / "rows").mkdir()
            except FileNotFoundError:
                lost.append(path)
    stop.set()
    for cleaner in cleaners:
        cleaner.join()
    assert lost == []


@pytest.mark.parametrize("clean", CLEANERS.values(), ids=CLEANERS)
def test_a_symbolic_link_of_that_name_leads_nowhere(table, tmp_path, clean):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.txt").write_text("mine")
    age(elsewhere, 30 * DAY_S)
    link = table / f"_staging-{module._host()}-{'0' * 24}"
    link.symlink_to(elsewhere)
    clean(table)
    assert (elsewhere / "mine.txt").exists()
    assert link.is_symlink()

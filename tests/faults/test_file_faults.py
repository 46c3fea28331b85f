"""Bytes of the input that have changed on the disk, and clocks that differ: exact rows, or an error that names the file."""

import os
import re
import shutil
import time
from unittest import mock

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from faulty_world import ROWS, WRITTEN, assert_exact, score_here, temporary_files, write_source

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.table import Table
from sparktorch_assets.lake.vacuum import vacuum
from sparktorch_assets.testing.faults import flip_bytes, leftovers

HOUR_S = 3600


@pytest.mark.promise("O256")
def test_a_page_of_the_input_that_is_damaged_ends_the_run_with_the_name_of_its_file(tmp_path):
    """The files' pages have checksums, as those that Spark writes; the old table stays, and the file can be restored. A
    byte that readers make no use of changes nothing."""
    write_source(tmp_path, files=2)
    score_here(tmp_path)
    (path,) = write_source(tmp_path, files=1, first=2)
    whole, status = path.read_bytes(), path.stat()
    noticed = 0
    for seed in range(12):
        shutil.copytree(tmp_path / "table", tmp_path / f"table{seed}")
        flip_bytes(path, seed=seed)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        try:
            score_here(tmp_path, f"table{seed}")
        except TableError as raised:
            noticed += 1
            error = str(raised)
            assert re.search(rf"cannot read '{path}', it is damaged: .* Restore the file, or write it again", error)
            assert Table(str(tmp_path / f"table{seed}")).row_count() == 2 * ROWS
            assert temporary_files(tmp_path / f"table{seed}") == []
        path.write_bytes(whole)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        score_here(tmp_path, f"table{seed}")
        assert_exact(tmp_path, f"table{seed}")
    assert noticed >= 4


@pytest.mark.promise("O257")
@pytest.mark.parametrize("hours", [-1, 1])
def test_a_driver_whose_clock_is_an_hour_off_makes_the_same_table(tmp_path, hours):
    """Files are told apart by what the disk says of them, whatever their times: also if one is written over in place."""
    real, real_ns = time.time, time.time_ns

    def shifted():
        return real() + hours * HOUR_S

    def shifted_ns():
        return real_ns() + hours * HOUR_S * 10**9

    with mock.patch.object(time, "time", shifted), mock.patch.object(time, "time_ns", shifted_ns):
        write_source(tmp_path, files=3)
        assert score_here(tmp_path).shards_new == 3
        assert not score_here(tmp_path).changed
        first = min((tmp_path / "source").iterdir())
        status, found = first.stat(), pq.read_table(first)
        # Written over in place, with other numbers, and with equal time and size.
        pq.write_table(found.set_column(0, "id", pc.add(found["id"], 1_000)), tmp_path / "other", **WRITTEN)
        first.write_bytes((tmp_path / "other").read_bytes())
        os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert first.stat().st_size == status.st_size
        assert score_here(tmp_path).shards_new == 1
        assert vacuum(str(tmp_path / "table")).files == ()
        # Half an hour is less than the clock is off: what was removed last counts as old to a clock that is ahead.
        assert len(vacuum(str(tmp_path / "table"), retention_hours=0.5).files) == (1 if hours > 0 else 0)
        vacuum(str(tmp_path / "table"), retention_hours=2)
    assert Table(str(tmp_path / "table")).row_count() == 3 * ROWS
    vacuum(str(tmp_path / "table"), retention_hours=0)
    assert leftovers(str(tmp_path / "table")) == []


@pytest.mark.promise("O257")
@pytest.mark.parametrize("hours", [-1, 1])
def test_files_of_a_host_whose_clock_is_an_hour_off_are_files_like_others(tmp_path, hours):
    """What another host has written has times of its clock: input files and parts of an hour ago, or of the future."""
    paths = write_source(tmp_path, files=3)
    score_here(tmp_path, "other")
    for path in [*paths, *(tmp_path / "other").rglob("*.parquet")]:
        os.utime(path, (time.time() + hours * HOUR_S,) * 2)
    report = score_here(tmp_path)
    assert report.shards_new == 3
    (path,) = write_source(tmp_path, files=1, first=3)
    os.utime(path, (time.time() + hours * HOUR_S,) * 2)
    assert score_here(tmp_path).shards_new == 1
    assert not score_here(tmp_path).changed
    assert vacuum(str(tmp_path / "table")).files == ()
    assert_exact(tmp_path)

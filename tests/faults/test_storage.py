"""Disks that are full, read-only, slow, or take only part of a file: exact rows, or a clear error and the old table.

Tests that mount file systems are among those of clusters, which continuous integration runs as root.
"""

import itertools
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest
from conftest import skip_or_fail
from faulty_world import ENVIRONMENT, ROWS, TESTS, assert_exact, score_here, temporary_files, write_source

from sparktorch_assets.errors import DiskFullError, TableError
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.table import Table
from sparktorch_assets.lake.vacuum import vacuum
from sparktorch_assets.testing.faults import at_step, leftovers


@pytest.fixture
def old(tmp_path):
    """A table of three files, to which two more have come since."""
    write_source(tmp_path, files=3)
    score_here(tmp_path, "old")
    write_source(tmp_path, files=2, first=3)
    return tmp_path / "old"


@pytest.mark.cluster
@pytest.mark.promise("O246")
@pytest.mark.parametrize("what", ["full", "read-only"])
def test_a_disk_that_fails_from_any_step_on_costs_no_row(disk, old, tmp_path, what):
    """Whatever the step, the old table stays, the error says what is wrong, and the next run makes the table exact."""
    errors = []
    for number in itertools.count():
        table = disk.folder / f"table{number}"
        shutil.copytree(old, table)
        error = None
        with at_step(number, disk.fill if what == "full" else disk.set_read_only) as steps:
            try:
                score_here(tmp_path, table)
            except TableError as raised:
                error = raised
        if error is not None:
            errors.append(error)
            assert Table(str(table)).version == 0
            assert Table(str(table)).row_count() == 3 * ROWS
            if what == "full":
                assert temporary_files(table) == []
        disk.make_room() if what == "full" else disk.set_writable()
        score_here(tmp_path, table)
        vacuum(str(table), retention_hours=0)  # of a temporary file that could not be deleted either
        assert_exact(tmp_path, table)
        shutil.rmtree(table)
        if len(steps) <= number:
            break
    said = "no space left to write .*: 0 bytes free" if what == "full" else "cannot write .*Read-only file system"
    assert len(errors) >= 8
    for error in errors:
        assert isinstance(error, DiskFullError) == (what == "full")
        with pytest.raises(TableError, match=rf"{said}.* Nothing was committed"):
            raise error
        assert "\n" not in str(error)
        assert "\x1b" not in str(error)


@pytest.mark.cluster
@pytest.mark.promise("O246", "O263")
def test_a_table_cannot_begin_on_a_disk_that_is_read_only(disk, tmp_path):
    write_source(tmp_path, files=1)
    disk.set_read_only()
    with pytest.raises(TableError, match=r"cannot write .*/disk/table: .*Read-only file system"):
        score_here(tmp_path, disk.folder / "table")
    disk.set_writable()
    score_here(tmp_path, disk.folder / "table")
    assert_exact(tmp_path, disk.folder / "table")


@pytest.mark.promise("O246")
def test_a_file_that_is_written_in_part_never_gets_a_name(old, tmp_path):
    """The system takes the first 800 bytes of each file, and refuses the rest."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (800, before[1]))
    try:
        with pytest.raises(TableError, match=r"cannot write .*/old/part-.*File too large"):
            score_here(tmp_path, "old")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert Table(str(old)).row_count() == 3 * ROWS
    assert leftovers(str(old)) == []
    score_here(tmp_path, "old")
    assert_exact(tmp_path, "old")


@pytest.mark.promise("O247")
def test_a_slow_disk_costs_time_and_nothing_else(old, tmp_path):
    """Every file takes 50 ms to be opened, for reading or writing."""
    opened = []

    def slowly(real):
        def call(*args):
            opened.append(args)
            time.sleep(0.05)
            return real(*args)

        return call

    with (
        mock.patch.object(Folder, "open_input", slowly(Folder.open_input)),
        mock.patch.object(Folder, "open_output", slowly(Folder.open_output)),
    ):
        report = score_here(tmp_path, "old")
    assert (report.shards_new, report.shards_unchanged) == (2, 3)
    assert len(opened) >= 4
    assert_exact(tmp_path, "old")


@pytest.mark.cluster
@pytest.mark.jvm
@pytest.mark.promise("O248")
@pytest.mark.parametrize("what", ["full", "read-only"])
def test_a_run_needs_no_room_in_tmp_but_a_tmp_that_takes_files(tmp_path, what):
    """`/tmp` is a file system of its own, in a mount namespace of the run's."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        skip_or_fail("this test needs root, and unshare: apt-get install --no-install-recommends util-linux")
    write_source(tmp_path, files=2)
    # What the run needs may be in /tmp itself.
    kept = sorted({tmp_path, *(path for path in (TESTS.parent, Path(sys.prefix)) if path.is_relative_to("/tmp"))})
    script = f"""
set -eu
mount -t tmpfs tmpfs /mnt
for kept do mkdir -p "/mnt$kept"; mount --bind "$kept" "/mnt$kept"; done
mount -t tmpfs -o size=8m tmpfs /tmp
for kept do mkdir -p "$kept"; mount --bind "/mnt$kept" "$kept"; done
{"head -c 100m /dev/zero > /tmp/ballast || true" if what == "full" else "mount -o remount,ro /tmp"}
cd {tmp_path}
exec {sys.executable} {Path(__file__).with_name("scoring.py")} {tmp_path}
"""
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", script, "sh", *map(str, kept)],
        env=ENVIRONMENT | {"TMPDIR": "/tmp"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    if what == "full":
        assert "SHARDS 2 0 0 80" in done.stdout, done.stderr
        assert_exact(tmp_path)
    else:
        assert "HostError: Spark's Java process ended before it could be reached" in done.stderr
        assert "Read-only file system" in done.stderr
        assert not (tmp_path / "table").exists() or not list((tmp_path / "table").iterdir())

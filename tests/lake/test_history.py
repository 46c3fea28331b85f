"""Older versions of a table, and what a reader of the bare folder would see."""

from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from lake_scorer import expected_rows, refresh, rows_of, write_file

from sparktorch_assets.lake import vacuum as vacuum_module
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.log.history import commit_infos
from sparktorch_assets.lake.vacuum import vacuum


@pytest.fixture
def lake(tmp_path):
    """A table of two versions: weight 1, then weight 2."""
    source, table = tmp_path / "source", tmp_path / "table"
    write_file(source, "a", list(range(7)))
    refresh(source, table, 1)
    refresh(source, table, 2)
    return source, table


def test_no_entry_of_the_log_stays_open_while_older_ones_may_be_asked_for(lake):
    """A table keeps the iterator: a disk with an open file can be neither unmounted nor set read-only."""
    _, table = lake
    commits = commit_infos(Folder(str(table)))
    assert next(commits)
    opened = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.exists()]
    assert not [path for path in opened if str(table) in str(path)]
    assert [len([commit]) for commit in commits] == [1]


@pytest.mark.promise("T47", "T53")
def test_a_version_before_stays_readable_until_a_vacuum(lake):
    source, table = lake
    assert rows_of(table, version=0) == expected_rows(source, 1)
    assert [commit["version"] for commit in DeltaTable(str(table)).history()] == [1, 0]
    vacuum(str(table), retention_hours=0)
    assert rows_of(table) == expected_rows(source, 2)
    with pytest.raises(Exception, match=r"(?i)not found|no such file"):
        rows_of(table, version=0)


@pytest.mark.promise("T49")
def test_restore_goes_back_at_once_and_the_next_refresh_forth_again(lake):
    """Nothing is computed for it: the parts are there."""
    source, table = lake
    DeltaTable(str(table)).restore(0)
    assert rows_of(table) == expected_rows(source, 1)
    _, computed = refresh(source, table, 2)
    assert computed == []
    assert rows_of(table) == expected_rows(source, 2)


@pytest.mark.promise("T46")
def test_the_bare_folder_holds_parts_of_older_versions_too(lake):
    source, table = lake
    assert pl.read_parquet(table / "*.parquet").height == 2 * len(expected_rows(source, 2))
    assert pl.read_delta(str(table)).height == len(expected_rows(source, 2))


@pytest.mark.promise("T23")
def test_half_an_entry_in_the_log_is_an_error_until_it_is_deleted(lake):
    """As a power cut may leave the last one. Without it the table is the version before, and the next refresh goes on."""
    source, table = lake
    last = max((table / "_delta_log").glob("*.json"))
    last.write_bytes(last.read_bytes()[:200])
    with pytest.raises(Exception, match=r"(?i)json|log"):
        rows_of(table)
    last.unlink()
    assert rows_of(table) == expected_rows(source, 1)
    assert refresh(source, table, 2)[1] == []
    assert rows_of(table) == expected_rows(source, 2)


@pytest.mark.promise("T50")
def test_a_vacuum_keeps_a_week_unless_told_otherwise():
    assert vacuum_module.RETENTION_HOURS == 7 * 24

"""Finished parts of another table are taken over: exactly those that would be computed, and as files of their own."""

import subprocess
import sys
from pathlib import Path

import pytest
from lake_scorer import carry_out, expected_rows, plan_of, refresh, rows_of, write_file

from sparktorch_assets.lake import adoption
from sparktorch_assets.lake.adoption import adopt_parts
from sparktorch_assets.lake.table import data_version, table_version
from sparktorch_assets.lake.vacuum import vacuum


@pytest.fixture
def world(tmp_path):
    """A champion's table of weight 1, and a challenger's of weight 2: four shards each."""
    write_file(tmp_path / "source", "a", list(range(12)))
    refresh(tmp_path / "source", tmp_path / "champion", 1)
    refresh(tmp_path / "source", tmp_path / "challenger", 2)
    return tmp_path


def promote(world: Path):
    """Refresh the champion with the challenger's weight, and return what was taken over and what was computed."""
    source, table = world / "source", world / "champion"
    adopted = adopt_parts([plan_of(source, table, 2)], [str(world / "challenger")])
    _, computed = carry_out(plan_of(source, table, 2), table, 2)
    return adopted, computed


@pytest.mark.promise("O104", "O105")
def test_a_promoted_table_has_the_challengers_rows_and_nothing_is_computed(world):
    before = sorted((path.name, path.read_bytes()) for path in (world / "challenger").glob("*.parquet"))
    assert promote(world) == (4, [])
    assert rows_of(world / "champion") == expected_rows(world / "source", 2)
    assert data_version(str(world / "champion")) == data_version(str(world / "challenger"))
    assert sorted((path.name, path.read_bytes()) for path in (world / "challenger").glob("*.parquet")) == before
    assert rows_of(world / "champion", version=0) == expected_rows(world / "source", 1)  # time travel


@pytest.mark.promise("O105")
def test_going_back_computes_nothing_either(world):
    promote(world)
    _, computed = refresh(world / "source", world / "champion", 1)
    assert computed == []
    assert rows_of(world / "champion") == expected_rows(world / "source", 1)


@pytest.mark.promise("O106")
def test_both_tables_have_files_of_their_own(world):
    promote(world)
    for part in (world / "challenger").glob("*.parquet"):
        assert part.stat().st_ino != (world / "champion" / part.name).stat().st_ino
        part.unlink()
    assert rows_of(world / "champion") == expected_rows(world / "source", 2)


@pytest.mark.promise("O106")
def test_only_whole_parts_are_taken_over(world):
    one, other, *_ = sorted((world / "challenger").glob("*.parquet"))
    one.write_bytes(one.read_bytes()[:-100])
    other.write_bytes(b"")
    adopted, computed = promote(world)
    assert (adopted, sorted(computed)) == (2, sorted([one.name, other.name]))
    assert rows_of(world / "champion") == expected_rows(world / "source", 2)


def test_parts_for_another_input_or_model_are_not_taken_over(world):
    write_file(world / "source", "b", [7, 8, 9])  # its part is the only one that the challenger lacks
    adopted, computed = promote(world)
    assert (adopted, len(computed)) == (4, 1)
    assert adopt_parts([plan_of(world / "source", world / "champion", 3)], [str(world / "challenger")]) == 0


def test_a_part_that_cannot_be_copied_is_computed(world, monkeypatch, caplog):
    """As if a vacuum had deleted it between the listing and the copy."""

    def gone(*_, **__):
        raise FileNotFoundError("gone")

    monkeypatch.setattr(adoption.fs, "copy_files", gone)
    adopted, computed = promote(world)
    assert (adopted, len(computed)) == (0, 4)
    assert "is scored instead: gone" in caplog.text
    assert not list((world / "champion").glob(".*.tmp"))


def test_an_incomplete_file_of_the_name_is_replaced(world):
    part = next(iter(sorted((world / "challenger").glob("*.parquet"))))
    (world / "champion" / part.name).write_bytes(b"half of it")
    assert promote(world) == (4, [])
    assert rows_of(world / "champion") == expected_rows(world / "source", 2)


def test_tables_that_do_not_exist_and_the_table_itself_have_nothing_to_give(world):
    plan = plan_of(world / "source", world / "champion", 2)
    assert adopt_parts([plan], [str(world / "nowhere"), str(world / "champion"), f"file://{world}/champion"]) == 0


@pytest.mark.slow
@pytest.mark.promise("O107")
def test_kill_9_at_any_step_of_a_promotion_loses_nothing(tmp_path):
    """The table has the old rows or the new ones, the next refresh completes it, and a vacuum leaves no temporary file."""
    untouched = tmp_path / "untouched"
    write_file(untouched / "source", "a", list(range(12)))
    refresh(untouched / "source", untouched / "table", 1)
    refresh(untouched / "source", untouched / "challenger", 2)
    here = Path(__file__).parent
    subprocess.run(
        [sys.executable, here / "killed_writers.py", "adopted", tmp_path],
        env={"PYTHONPATH": f"{here}:{here.parents[1]}", "PATH": ""},
        check=True,
        timeout=200,
    )
    killed = sorted((path for path in tmp_path.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    assert len(killed) > 10
    for world in killed:
        source, table = world / "source", world / "table"
        assert rows_of(table) in (expected_rows(source, 1), expected_rows(source, 2))
        adopt_parts([plan_of(source, table, 2)], [str(world / "challenger")])
        _, computed = refresh(source, table, 2)
        assert computed == []
        assert rows_of(table) == expected_rows(source, 2)
        assert rows_of(table, version=0) == expected_rows(source, 1)
        vacuum(str(table), retention_hours=0)
        assert len([path for path in table.iterdir() if path.is_file()]) == 4
        assert table_version(str(table)) == 1

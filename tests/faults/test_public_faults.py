"""The faults that users inject do what they say, and the check of rows sees every way in which a table can be wrong."""

import itertools
import os
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faulty_world import assert_exact, score_here, write_source

from sparktorch_assets.errors import TableError
from sparktorch_assets.testing.faults import (
    assert_same_rows,
    cut_short,
    flip_bytes,
    killed_at,
    killing,
    leftovers,
    live_files,
    python_workers,
    signal_at_random,
)

ROWS = [{"id": 1, "y": 0.5, "v": [1.0]}, {"id": 2, "y": None, "v": [2.0]}, {"id": 3, "y": float("nan"), "v": []}]
LOOKS_LIKE_A_DAEMON = "import os, time; os.fork() or time.sleep(60); time.sleep(60)"


def written(folder, rows):
    folder.mkdir()
    pq.write_table(
        pa.Table.from_pylist(
            rows, schema=pa.schema({"id": pa.int64(), "y": pa.float64(), "v": pa.list_(pa.float64())})
        ),
        folder / "a.parquet",
    )
    return str(folder)


@pytest.mark.promise("O264")
@pytest.mark.parametrize(
    ("found", "said"),
    [
        (ROWS[1:], "of 3 rows, 1 are missing"),
        ([*ROWS, ROWS[0]], "of 3 rows, 1 are there once more"),
        ([*ROWS, ROWS[0] | {"id": 4}], "of 3 rows, 1 are unknown"),
        ([ROWS[0] | {"y": 0.6}, *ROWS[1:]], "of 3 rows, 1 have another 'y'"),
        ([ROWS[0], ROWS[1] | {"y": 0.0}, ROWS[2]], "1 have another 'y'"),
        ([ROWS[0], ROWS[1], ROWS[2] | {"y": 0.0}], "1 have another 'y'"),
        ([ROWS[0] | {"v": [1.0, 1.0]}, *ROWS[1:]], "1 have another 'v'"),
        ([ROWS[0] | {"v": [1.1]}, *ROWS[1:]], "1 have another 'v'"),
    ],
)
def test_every_difference_of_rows_is_seen_and_no_value_is_told(tmp_path, found, said):
    due, table = written(tmp_path / "due", ROWS), written(tmp_path / "table", found)
    with pytest.raises(AssertionError, match=said) as raised:
        assert_same_rows(table, due, key=["id"])
    assert "0.6" not in str(raised.value)


def test_rounding_and_order_make_no_difference(tmp_path):
    due, table = written(tmp_path / "due", ROWS), written(tmp_path / "table", [*ROWS[1:], ROWS[0] | {"y": 0.5000001}])
    assert_same_rows(table, due, key=["id"])
    with pytest.raises(AssertionError, match="1 have another 'y'"):
        assert_same_rows(table, due, key=["id"], tolerance=1e-9)


def test_a_key_that_does_not_tell_rows_apart_is_refused(tmp_path):
    due = written(tmp_path / "due", [ROWS[0], ROWS[0]])
    with pytest.raises(AssertionError, match="id does not tell rows apart: 1 values repeat"):
        assert_same_rows(due, due, key=["id"])


@pytest.mark.promise("O261")
def test_a_refresh_that_is_killed_at_any_step_is_finished_by_the_next_one(tmp_path):
    write_source(tmp_path, files=3)
    steps = []
    for number in itertools.count():
        step = killed_at(number, lambda number=number: score_here(tmp_path, f"table{number}"))
        steps.append(step)
        score_here(tmp_path, f"table{number}")
        assert_same_rows(str(tmp_path / f"table{number}"), str(tmp_path / "table0"), key=["id"])
        if step is None:
            break
    assert steps[-1] is None
    assert {"create", "open_output", "publish", "create table"} <= set(steps)
    assert steps.count("publish") == 3
    assert_exact(tmp_path, "table0")


@pytest.mark.promise("O261", "O265")
def test_after_a_kill_nothing_has_an_effect_any_more(tmp_path):
    write_source(tmp_path, files=1)
    assert killed_at(2, lambda: score_here(tmp_path)) == "publish"
    assert [path.name for path in (tmp_path / "table").glob(".*.tmp")]
    with pytest.raises(TableError, match="no Delta table"):
        leftovers(str(tmp_path / "table"))


@pytest.mark.promise("O262")
def test_a_damaged_part_is_noticed_and_a_cut_one_too(tmp_path):
    write_source(tmp_path, files=2)
    score_here(tmp_path)
    first, second = live_files(str(tmp_path / "table"))
    size, content = first.stat().st_size, first.read_bytes()
    flip_bytes(first, seed=1)
    assert (first.stat().st_size, sum(a != b for a, b in zip(content, first.read_bytes(), strict=True))) == (size, 1)
    with pytest.raises(TableError, match="it is damaged"):
        assert_exact(tmp_path)
    cut_short(second, keep=0.5)
    assert second.stat().st_size == pytest.approx(size / 2, rel=0.1)


def test_no_seed_touches_the_footer(tmp_path):
    pq.write_table(pa.table({"x": list(range(3))}), tmp_path / "a.parquet")
    before = pq.read_metadata(tmp_path / "a.parquet")
    for seed in range(50):
        flip_bytes(tmp_path / "a.parquet", seed=seed)
        assert pq.read_metadata(tmp_path / "a.parquet") == before


def process_that_looks_like_workers():
    """A parent and a child with the arguments of Spark's daemon and its worker."""
    return subprocess.Popen([sys.executable, "-c", LOOKS_LIKE_A_DAEMON, "pyspark.worker"], start_new_session=True)


@pytest.mark.promise("O259", "O260")
def test_workers_are_the_children_of_daemons_and_die_at_a_random_moment():
    with process_that_looks_like_workers() as daemon, killing(seed=1, within_s=0.2, times=5) as killed:
        until = time.monotonic() + 20
        while not killed and time.monotonic() < until:
            time.sleep(0.01)
        (worker,) = killed
        assert worker != daemon.pid
        assert daemon.poll() is None
        assert python_workers() == []
        os.killpg(daemon.pid, signal.SIGKILL)


@pytest.mark.promise("O259")
def test_what_was_stopped_goes_on_afterwards():
    with process_that_looks_like_workers() as daemon:
        with signal_at_random(python_workers, signal.SIGSTOP, seed=1, within_s=0.1) as stopped:
            until = time.monotonic() + 20
            while not stopped and time.monotonic() < until:
                time.sleep(0.01)
            assert state_of(stopped[0]) == "T"
        until = time.monotonic() + 20
        while state_of(stopped[0]) == "T" and time.monotonic() < until:
            time.sleep(0.01)
        assert state_of(stopped[0]) in "RS"
        os.killpg(daemon.pid, signal.SIGKILL)


def state_of(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]

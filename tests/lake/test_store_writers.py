"""Several processes write one table in a store at once, where a commit is a conditional request."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable
from faulty_store import Fault, faulty_store
from lake_scorer import expected_rows, rows_of, write_file

pytestmark = pytest.mark.slow


def late_commits(request):
    """Commits take so long that all writers ask for theirs before one is there."""
    return Fault(delay_s=2) if request.command == "PUT" and "_delta_log" in request.key else None


HERE = Path(__file__).parent


def outcomes(source, table, weights):
    """What comes of writers with these weights that have all planned before one of them commits."""
    program = [sys.executable, str(HERE / "store_writer.py"), source, table]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([*program, str(weight)], env=env, **pipes) for weight in weights]
    for writer in writers:
        assert writer.stdout.readline() == "planned\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    said = [writer.communicate(timeout=60) for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * len(writers), said
    return [out.strip() for out, _ in said]


@pytest.mark.promise("T162")
@pytest.mark.parametrize("begins", ["with no table", "with a table"])
def test_of_writers_that_differ_exactly_one_wins(tmp_path, begins):
    for number in range(3):
        write_file(tmp_path, str(number), [number, 5])
    with faulty_store() as store:
        source, table = store.store.upload(tmp_path, f"{tmp_path.name}/source"), store.uri(f"{tmp_path.name}/table")
        if begins == "with a table":
            assert outcomes(source, table, [9]) == ["committed 0"]
        store.reset(late_commits)
        said = outcomes(source, table, [1, 2, 3])
        (winner,) = [number for number, what in enumerate(said) if what.startswith("committed")]
        assert sum(what.startswith("conflict") for what in said) == 2
        assert rows_of(table) == expected_rows(tmp_path, winner + 1)
        assert DeltaTable(table).version() == (1 if begins == "with a table" else 0)
        conditional = [
            request
            for request in store.requests
            if request.command == "PUT" and "_delta_log" in request.key and request.key.endswith(".json")
        ]
        assert len(conditional) == 3


@pytest.mark.promise("T162")
def test_writers_of_the_same_rows_all_succeed_with_one_version(tmp_path):
    for number in range(3):
        write_file(tmp_path, str(number), [number, 5])
    with faulty_store() as store:
        source, table = store.store.upload(tmp_path, f"{tmp_path.name}/source"), store.uri(f"{tmp_path.name}/table")
        store.reset(late_commits)
        said = outcomes(source, table, [2, 2])
        assert sorted(said) == ["committed 0", "found the same 0"]
        assert rows_of(table) == expected_rows(tmp_path, 2)

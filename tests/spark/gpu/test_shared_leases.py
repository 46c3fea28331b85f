"""Two sessions on one host with one GPU for two models: the GPU is pretended, sessions, workers and leases are real."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from lone_files import lone_file

pytestmark = [pytest.mark.slow, pytest.mark.jvm, pytest.mark.timeout(400)]

TESTS = Path(__file__).parents[2]
FILES, ROWS = 12, 400


@pytest.fixture
def host(tmp_path):
    """A table of twelve files, and the environment of a host with one GPU."""
    (tmp_path / "source").mkdir()
    for number in range(FILES):
        ids = list(range(number * ROWS, (number + 1) * ROWS))
        columns = {"id": ids, "a": [float(i % 11) - 5.5 for i in ids], "b": [0.0] * ROWS}
        pq.write_table(pa.table(columns), tmp_path / "source" / lone_file(f"f{number}"))
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA Pretended (UUID: GPU-one)'\n")
    tool.chmod(0o755)
    path = os.pathsep.join([str(TESTS), str(TESTS / "cluster"), *filter(None, sys.path)])
    return os.environ | {
        "PATH": f"{tool.parent}:{os.environ['PATH']}",
        "PYTHONPATH": path,
        "PRETENDED_GPUS": "1",
        "TMPDIR": str(tmp_path),
    }


def start(tmp_path, host, name):
    command = [sys.executable, TESTS / "spark" / "gpu" / "lease_run.py"]
    places = [tmp_path / "source", tmp_path / name, tmp_path / "notes"]
    with (tmp_path / f"{name}.log").open("w") as log:
        return subprocess.Popen([*command, *places], env=host, stdout=log, stderr=subprocess.STDOUT)


def spans_of(folder):
    """(process, begin, end) of every batch."""
    lines = [line.split() for file in folder.iterdir() for line in file.read_text().splitlines()]
    return [(process, float(began), float(ended)) for _, process, began, ended, _ in lines]


@pytest.mark.promise("O224", "O228")
def test_two_sessions_share_one_gpu(tmp_path, host):
    """Of four cores each, never more than two processes compute at the same time. One that is killed while it holds a lease
    leaves it to the others, and costs no row."""
    runs = {name: start(tmp_path, host, name) for name in ("one", "two")}
    try:
        notes, killed = tmp_path / "notes", 0
        until = time.monotonic() + 240
        while not killed and time.monotonic() < until and any(run.poll() is None for run in runs.values()):
            time.sleep(0.2)
            for file in notes.iterdir() if notes.is_dir() else ():
                if len(file.read_text().splitlines()) > 2:
                    killed = int(file.name.rpartition("-")[2])
                    os.kill(killed, signal.SIGKILL)
                    break
        assert killed
        for name, run in runs.items():
            assert run.wait(300) == 0, (tmp_path / f"{name}.log").read_text()
    finally:
        for run in runs.values():
            if run.poll() is None:
                run.kill()
                run.wait()
    spans = spans_of(notes)
    changes = sorted(itertools.chain.from_iterable(((began, 1), (ended, -1)) for _, began, ended in spans))
    assert max(itertools.accumulate(change for _, change in changes)) == 2
    for name in runs:
        assert (tmp_path / f"{name}.log").read_text().splitlines()[-1] == "2"
        table = DeltaTable(tmp_path / name).to_pyarrow_table().sort_by("id").to_pylist()
        assert [row["id"] for row in table] == list(range(FILES * ROWS))
        assert all(row["predicted_class"] == ("plus" if row["id"] % 11 > 5.5 else "minus") for row in table)

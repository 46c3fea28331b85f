"""GPUs on a standalone cluster of two workers with two GPUs each, for two models each. The GPUs are pretended: a fake
nvidia-smi lists them, and models sleep instead of computing. What assigns them is real."""

import itertools
import json
import os
import random
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hosts import ROOT, hosts
from lone_files import lone_file
from page_blocks import blocks_run_by
from standalone import standalone

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.jvm, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
SHARDS = 64
SMI = """#!/bin/sh
echo "GPU 0: NVIDIA Pretended (UUID: GPU-$(hostname)-0)"
echo "GPU 1: NVIDIA Pretended (UUID: GPU-$(hostname)-1)"
"""


def write_source(folder, sizes):
    """A table of one file per shard, with rows that do not compress."""
    folder.mkdir()
    draw = random.Random(3)
    first = 0
    for number, rows in enumerate(sizes):
        columns = {
            "id": range(first, first + rows),
            "a": [draw.uniform(-1, 1) for _ in range(rows)],
            "b": [draw.uniform(-1, 1) for _ in range(rows)],
        }
        pq.write_table(pa.table({name: list(values) for name, values in columns.items()}), folder / lone_file(f"s{number}"))  # fmt: skip
        first += rows


def worker_options(page):
    """What the page's command puts into a worker's environment."""
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    command = f'{page}\nprintf %s "$SPARK_WORKER_OPTS"'
    return subprocess.run(["sh", "-ec", command], env=env, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The cluster's shared folder, and what the program said that has used the cluster."""
    folder = tmp_path_factory.mktemp("gpus")
    with hosts(["driver", "worker1", "worker2"], folder) as found:
        shared = folder / "shared"
        (shared / "bin").mkdir()
        (shared / "bin" / "nvidia-smi").write_text(SMI)
        (shared / "bin" / "nvidia-smi").chmod(0o755)
        draw = random.Random(5)
        write_source(shared / "source", [min(3500, int(draw.lognormvariate(6.6, 0.7))) for _ in range(SHARDS)])
        write_source(shared / "few", [500] * 4)
        write_source(shared / "small", [50] * 16)
        start, of_worker = blocks_run_by(__file__)
        environment = {
            "SPARK_WORKER_OPTS": worker_options(of_worker.text),
            "PATH": f"{found[0].shared}/bin:{os.environ['PATH']}",
            "PRETENDED_GPUS": "2",
        }
        with standalone(found, folder, cores=6, **environment) as cluster:
            path = os.pathsep.join(str(place) for place in (ROOT, ROOT / "tests", HERE))
            command = [sys.executable, HERE / "gpu_run.py", cluster.url, cluster.driver.shared, start.text]
            done = cluster.driver.run(command, timeout=560, PYTHONPATH=path)
            assert done.returncode == 0, done.stderr + cluster.said()
            yield shared, json.loads(done.stdout)


def notes_of(folder):
    """GPU -> its batches, as (process, begin, end, rows)."""
    found = defaultdict(list)
    for file in folder.iterdir():
        for line in file.read_text().splitlines():
            place, process, began, ended, rows = line.split()
            found[place].append((f"{file.name}:{process}", float(began), float(ended), int(rows)))
    return found


def most_at_once(batches):
    """The largest number of processes that computed at the same moment."""
    steps = sorted(
        itertools.chain.from_iterable(((began, 1), (ended, -1)) for _, began, ended, _ in batches),
        key=lambda step: (step[0], step[1]),
    )
    return max(itertools.accumulate(change for _, change in steps))


def assert_exact(shared, name):
    """Every row once, with the right class."""
    table = DeltaTable(shared / name).to_pyarrow_table().sort_by("id").to_pylist()
    rows = pq.read_table(shared / "source").sort_by("id").to_pylist()
    assert [row["id"] for row in table] == [row["id"] for row in rows]
    assert all(row["prediction_error"] is None for row in table)
    wanted = ["plus" if row["a"] > 0 else "minus" for row in rows]
    assert [row["predicted_class"] for row in table] == wanted


@pytest.mark.promise("O225", "O226")
def test_every_slot_is_busy_and_no_gpu_has_more_models_than_it_may(run):
    """64 shards of uneven size: eight processes at work, two on each GPU and never more, none of which works 15 % longer
    than the mean."""
    shared, said = run
    assert said["slots"].startswith("slots at work: 8, 4 on each worker, counted from 2 models on each of 2 GPUs")
    found = notes_of(shared / "balanced.notes")
    assert len(found) == 4
    by_slot, by_gpu = Counter(), Counter()
    for gpu, batches in found.items():
        assert most_at_once(batches) == 2, gpu
        for process, began, ended, _ in batches:
            by_slot[process] += ended - began  # which may change its GPU between two tasks
            by_gpu[gpu] += ended - began
    assert len(by_slot) == 8
    for seconds in (by_slot, by_gpu):
        assert max(seconds.values()) / (seconds.total() / len(seconds)) <= 1.15, seconds
    assert said["balance"] <= 1.15
    assert_exact(shared, "balanced")


@pytest.mark.promise("O225")
def test_other_jobs_of_the_session_have_all_cores(run):
    """Amounts are those of a job, and not of the session."""
    _, said = run
    assert said["cpu"] == 12
    assert said["tasks"] == 12


@pytest.mark.promise("O226")
def test_fewer_shards_than_slots_are_spread_over_the_gpus(run):
    """Spark would put two of four on each executor's first GPU."""
    shared, _ = run
    found = notes_of(shared / "few_scored.notes")
    assert len(found) == 4
    assert all(most_at_once(batches) == 1 for batches in found.values())


@pytest.mark.promise("O227")
def test_a_gpu_that_fails_in_the_middle_costs_no_row(run):
    """Its tasks fail, rather than rows one by one; Spark runs them on the other worker."""
    shared, _ = run
    dead = str((shared / "dead").readlink())
    found = notes_of(shared / "failing.notes")
    assert dead in found  # it worked before
    others = [gpu for gpu in found if gpu.rpartition(":")[0] != dead.rpartition(":")[0]]
    assert others
    assert all(most_at_once(batches) <= 2 for batches in found.values())
    assert_exact(shared, "failing")

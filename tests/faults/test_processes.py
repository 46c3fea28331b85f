"""Processes that are killed or stopped at random moments of a run, from fixed seeds, in local mode and on a local cluster.

`tests/lake/test_crashes.py` and `tests/spark/test_score_processes.py` kill at chosen steps.
"""

import json
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from faulty_world import ENVIRONMENT, FILES, NETS, ROWS, assert_exact, score, score_here, write_source

from sparktorch_assets.lake.table import table_version
from sparktorch_assets.lake.vacuum import vacuum
from sparktorch_assets.testing.faults import executors, killing, python_workers, signal_at_random

SCORING = Path(__file__).with_name("scoring.py")
SLOW = 0.01
"""Seconds per row: a shard takes 0.4 s, and a run on two slots at least 1.6 s."""


@pytest.fixture
def nets(spark):
    """The workers of the shared session can import the networks."""
    spark.sparkContext.addPyFile(str(NETS))
    return spark


@pytest.mark.slow
@pytest.mark.promise("O249")
@pytest.mark.parametrize("seed", [1, 2])
def test_python_workers_killed_at_random_moments_cost_no_row(nets, tmp_path, seed):
    """In local mode Spark tries no task again, so the run itself takes up what is missing."""
    write_source(tmp_path)
    with killing(python_workers, seed=seed, within_s=1.5, times=2) as killed:
        report = score(nets, tmp_path, seconds_per_row=SLOW)
    assert killed
    assert report.rows_table == FILES * ROWS
    assert table_version(str(tmp_path / "table")) == 0
    vacuum(str(tmp_path / "table"), retention_hours=0)  # of what the killed ones were writing
    assert_exact(tmp_path)


@pytest.mark.slow
@pytest.mark.promise("O250")
def test_a_worker_that_stops_for_a_while_delays_the_run_and_no_more(nets, tmp_path):
    write_source(tmp_path)
    score(nets, tmp_path, "warm")
    with ThreadPoolExecutor(1) as pool:
        with signal_at_random(python_workers, signal.SIGSTOP, seed=1, within_s=0.5) as stopped:
            run = pool.submit(score, nets, tmp_path, seconds_per_row=SLOW)
            time.sleep(6)
            assert stopped
            assert not run.done()
        assert run.result(timeout=120).rows_table == FILES * ROWS
    assert_exact(tmp_path)


def tree_of(process):
    return [process, *process.children(recursive=True)]


@pytest.mark.slow
@pytest.mark.jvm
@pytest.mark.promise("O251")
@pytest.mark.parametrize("seed", [1, 2])
def test_a_driver_killed_at_a_random_moment_leaves_no_process_and_costs_no_row(tmp_path, seed):
    """`kill -9`, up to three seconds after its workers have begun."""
    write_source(tmp_path)
    driver = subprocess.Popen([sys.executable, SCORING, tmp_path, "local[2]", str(SLOW)], env=ENVIRONMENT)
    until = time.monotonic() + 120
    while not python_workers(driver.pid) and driver.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(random.Random(seed).uniform(0, 3))
    started = tree_of(psutil.Process(driver.pid))
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    assert len(started) >= 3  # the driver, its JVM, Python's daemon
    _, alive = psutil.wait_procs(started[1:], timeout=120)
    assert not alive
    score_here(tmp_path)
    vacuum(str(tmp_path / "table"), retention_hours=0)
    assert_exact(tmp_path)


@pytest.mark.slow
@pytest.mark.jvm
@pytest.mark.promise("O249")
def test_executors_killed_at_random_moments_cost_no_row(tmp_path):
    """Of two executors on a local cluster, one after the other; Spark starts new ones."""
    write_source(tmp_path)
    config = {"spark.executor.memory": "600m", "spark.executorEnv.PYTHONPATH": ENVIRONMENT["PYTHONPATH"]}
    with subprocess.Popen(
        [sys.executable, SCORING, tmp_path, "local-cluster[2,1,600]", str(SLOW * 2), json.dumps(config)],
        env=ENVIRONMENT | {"SPARK_WORKER_DIR": str(tmp_path / "work")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as driver:
        wait_for_work(driver)
        with killing(lambda: executors(driver.pid), seed=4, within_s=2, times=2) as killed:
            said = driver.communicate(timeout=250)[0]
    assert f"SHARDS {FILES} 0 0 {FILES * ROWS}" in said, said
    assert killed
    vacuum(str(tmp_path / "table"), retention_hours=0)
    assert_exact(tmp_path)


def wait_for_work(driver):
    until = time.monotonic() + 120
    while not python_workers(driver.pid) and driver.poll() is None and time.monotonic() < until:
        time.sleep(0.1)

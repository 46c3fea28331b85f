"""What goes wrong between hosts: a straggler, a worker that is gone, a network that is cut, a file that is damaged on one
host alone. Each host has an address, a `/tmp` and processes of its own (`tests/hosts.py`)."""

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from faulty_world import ENVIRONMENT, FILES, ROWS, assert_exact, write_source
from hosts import hosts, why_not_apart
from standalone import standalone, start_worker

from sparktorch_assets.lake.table import Table
from sparktorch_assets.lake.vacuum import vacuum

pytestmark = [pytest.mark.cluster, pytest.mark.jvm, pytest.mark.timeout(900)]

SCORING = Path(__file__).with_name("scoring.py")
SLOW = 0.02
"""Seconds per row: a shard takes 0.8 s, and a run on two hosts at least 3.2 s."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A master, and two workers with one core each."""
    folder = tmp_path_factory.mktemp("faults")
    with hosts(["driver", "worker1", "worker2"], folder) as found, standalone(found, folder, memory="600m") as running:
        yield running


@pytest.fixture
def root(cluster, request):
    """A folder of the test's own in the folder that the hosts share."""
    made = cluster.folder / request.node.name
    made.mkdir()
    write_source(made)
    return made


def scoring(cluster, root, seconds_per_row=SLOW, **config):
    """A run on the driver's host, whose workers are both at work before it begins."""
    defaults = {
        "spark.executor.memory": "512m",
        "spark.executorEnv.PYTHONPATH": ENVIRONMENT["PYTHONPATH"],
        "spark.cores.max": "2",  # without it, the next line would wait for nothing
        "spark.scheduler.minRegisteredResourcesRatio": "1.0",
        "spark.scheduler.maxRegisteredResourcesWaitingTime": "300s",
    }
    config = {name.replace("_", "."): value for name, value in config.items()}
    command = [sys.executable, SCORING, cluster.driver.shared / root.name, cluster.url, str(seconds_per_row)]
    command.append(json.dumps(defaults | config))
    return cluster.driver.run(command, timeout=800, PYTHONPATH=ENVIRONMENT["PYTHONPATH"])


@contextmanager
def under_way(cluster, root, **config):
    """A run that has begun: Python workers are at work on both hosts. The block is given its future outcome."""
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(scoring, cluster, root, **config)
        until = time.monotonic() + 400
        while not all(worker.processes("pyspark.worker") for worker in cluster.workers):
            assert time.monotonic() < until, cluster.said()
            assert not run.done(), run.result().stderr
            time.sleep(0.1)
        while not list(root.glob("table/.part-*")) and not list(root.glob("table/part-*")):  # torch has been imported
            assert not run.done(), run.result().stderr
            time.sleep(0.05)
        yield run


def assert_done(run, root):
    """The run has ended well, and its table is exact."""
    done = run.result(timeout=400)
    assert f" {FILES * ROWS}\n" in done.stdout, done.stdout + done.stderr
    vacuum(str(root / "table"), retention_hours=0)  # of what lost attempts were writing
    assert_exact(root)


def assert_ended(processes):
    """The processes end within a minute. Their entries may stay until a host's first process looks after them."""
    until = time.monotonic() + 60
    while any(map(is_alive, processes)):
        assert time.monotonic() < until, [one for one in processes if is_alive(one)]
        time.sleep(0.2)


def is_alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def set_cable(cluster, number, state):
    """Plug the cable of a worker's host in (`up`), or out (`down`)."""
    words = ["ip", "link", "set", f"to-worker{number}", state]
    subprocess.run(["nsenter", f"--target={cluster.driver.pid}", "--net", "--", *words], check=True)


def need_hosts_apart(cluster):
    if not cluster.driver.is_apart:
        pytest.skip(f"this test needs hosts with networks and mounts of their own: {why_not_apart()}")


@pytest.mark.promise("O252")
def test_an_executor_that_stops_is_overtaken_by_a_speculative_copy(cluster, root):
    """It never goes on before the run has ended, and Spark would not give it up before that either."""
    settings = {
        "spark_network_timeout": "900s",
        "spark_speculation": "true",
        "spark_speculation_interval": "200ms",
        "spark_speculation_quantile": "0.5",
        "spark_speculation_multiplier": "1.2",
    }
    with under_way(cluster, root, **settings) as run:
        stopped = cluster.executors(cluster.workers[0])
        stopped += [process for one in stopped for process in one.children(recursive=True)]
        for process in stopped:
            process.suspend()
        try:
            assert_done(run, root)
        finally:
            for process in stopped:
                with suppress(psutil.NoSuchProcess):
                    process.resume()
    # What the stopped one does afterwards changes nothing.
    psutil.wait_procs(stopped, timeout=30)
    assert_exact(root)


@pytest.mark.promise("O253")
def test_a_cable_that_is_out_for_some_seconds_costs_no_row(cluster, root):
    need_hosts_apart(cluster)
    with under_way(cluster, root) as run:
        set_cable(cluster, 1, "down")
        try:
            time.sleep(8)
            assert not run.done()
        finally:
            set_cable(cluster, 1, "up")
        assert_done(run, root)


@pytest.mark.promise("O253")
def test_a_host_that_cannot_be_reached_any_more_is_replaced_by_the_others(cluster, root):
    """The host itself goes on writing, since the tables are on another network."""
    need_hosts_apart(cluster)
    settings = {
        "spark_network_timeout": "12s",
        "spark_network_timeoutInterval": "4s",
        "spark_executor_heartbeatInterval": "2s",
    }
    with under_way(cluster, root, **settings) as run:
        set_cable(cluster, 2, "down")
        try:
            assert_done(run, root)
        finally:
            set_cable(cluster, 2, "up")
    time.sleep(3)
    assert_exact(root)


@pytest.mark.promise("O254")
def test_a_host_whose_weights_are_damaged_scores_no_row(cluster, root):
    """Spark tries a failed task again, on any host: either another one does the work, or the run ends with the error."""
    need_hosts_apart(cluster)
    (root / "seed.txt").write_text("3")
    (root / "damaged.txt").write_text("4")
    host = cluster.workers[1]
    inside = [host.shared / root.name / name for name in ("damaged.txt", "seed.txt")]
    in_mounts = ["nsenter", f"--target={host.pid}", "--mount", "--pid", "--"]
    subprocess.run([*in_mounts, "mount", "--bind", *inside], check=True)
    try:
        done = scoring(cluster, root)
    finally:
        subprocess.run([*in_mounts, "umount", inside[1]], check=True)
    said = "are not those that this run was planned with"
    assert host.run(["grep", "-rl", said, "/tmp"]).stdout, done.stdout + done.stderr
    if done.returncode:
        assert "ModelError" in done.stderr
        assert f"{root.name} on worker2 {said}" in done.stderr
        assert Table(str(root / "table")).version is None
        done = scoring(cluster, root)
    assert f" {FILES * ROWS}\n" in done.stdout, done.stderr
    assert_exact(root)


@pytest.mark.promise("O251")
def test_a_driver_that_is_killed_takes_its_executors_with_it(cluster, root):
    with under_way(cluster, root) as run:
        (driver,) = [one for one in psutil.process_iter() if is_run(one, root)]
        there = [one for worker in cluster.workers for one in cluster.executors(worker)]
        assert len(there) == 2
        there += [process for one in there for process in one.children(recursive=True)]
        driver.send_signal(signal.SIGKILL)
        assert run.result(timeout=60).returncode != 0
    assert_ended(there)
    done = scoring(cluster, root)
    assert f" {FILES * ROWS}\n" in done.stdout, done.stderr
    vacuum(str(root / "table"), retention_hours=0)
    assert_exact(root)


def is_run(process, root):
    try:
        command = process.cmdline()
    except psutil.Error:
        return False
    return command[:2] == [sys.executable, str(SCORING)] and command[2].endswith(root.name)


@pytest.mark.promise("O249")
def test_a_worker_process_that_is_killed_costs_no_row(cluster, root):
    """The process that starts executors on a host, with `kill -9`; its executor ends with it."""
    host = cluster.workers[0]
    with under_way(cluster, root) as run:
        (executor,) = cluster.executors(host)
        for process in host.processes("deploy.worker.Worker") or [host.servers[-1].process]:
            process.kill()
        server = next(one for one in host.servers if "worker" in one.name)
        server.process.kill()
        assert_done(run, root)
    assert_ended([executor])
    start_worker(host, cluster.url, 7, memory="600m")

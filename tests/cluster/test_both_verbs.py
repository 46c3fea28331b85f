"""Both verbs give the same rows everywhere: in one process, on a cluster of two hosts, and on a Connect server."""

import json
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable
from servers import eventually, free_ports
from shards import FILES, ROWS, noted, write_source

pytestmark = [pytest.mark.cluster, pytest.mark.jvm]

HERE = Path(__file__).parent
KEPT = sum(number % 7 > 0 for number in range(FILES * ROWS))


@pytest.fixture(scope="module")
def source(cluster):
    """An input and a model in the shared folder."""
    write_source(cluster.folder)


def scored(cluster, where, name, **env):
    """What the program said on the driver's host, the table that it made, and who worked on it."""
    command = [sys.executable, HERE / "both_verbs.py", where, str(cluster.driver.shared), name]
    done = cluster.driver.run(command, timeout=500, **env)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    table = DeltaTable(cluster.folder / name / "table").to_pyarrow_table().sort_by("id").to_pylist()
    notes = {verb: noted(cluster.folder / name / f"{verb}.notes") for verb in ("table", "frame")}
    return said, table, notes


@pytest.fixture(scope="module")
def locally(cluster, source):
    """The rows of a session in one process."""
    said, table, _ = scored(cluster, "local[2]", "local")
    assert len(table) == KEPT
    assert len({row["predicted_class"] for row in table}) > 1
    assert said["frame"] == table
    assert said["slots"].startswith("slots at work: 2, 2 on each worker")
    return table


@pytest.mark.promise("O200")
@pytest.mark.timeout(900)
def test_a_standalone_cluster_of_two_hosts_gives_the_same_rows(cluster, locally):
    """Row by row, and both hosts have done some of both."""
    said, table, notes = scored(cluster, cluster.url, "standalone")
    assert table == locally
    assert said["frame"] == locally
    assert said["report"] == [FILES, KEPT, 2]
    assert said["slots"] == ("slots at work: 2, 1 on each worker, counted from the executors that have registered")
    assert not said["torch"]
    for executors in notes.values():
        assert len(executors) == 2
        if cluster.driver.is_apart:
            assert {host for host, _ in executors} == {"worker1", "worker2"}


@pytest.mark.promise("O201")
@pytest.mark.timeout(900)
def test_a_connect_server_in_front_of_the_cluster_gives_the_same_rows(cluster, locally):
    """The server is a process of its own, whose executors are on other hosts; only its own host reaches it."""
    (port,) = [15002] if cluster.driver.is_apart else free_ports(1)
    module = "sparktorch_assets.spark.session.server"
    command = [sys.executable, "-m", module, "--port", str(port), "--master", cluster.url, "--memory", "512m"]
    server = cluster.driver.server("connect", command, SPARK_CONNECT_AUTHENTICATE_TOKEN="told")
    try:
        probe = f"import socket, sys; socket.create_connection((sys.argv[1], {port}), timeout=5)"
        reaches = [sys.executable, "-c", probe]
        eventually(lambda: cluster.driver.run([*reaches, "127.0.0.1"]).returncode == 0, servers=[server])
        if cluster.driver.is_apart:
            assert cluster.workers[0].run([*reaches, "driver"]).returncode != 0
        address = f"sc://localhost:{port}"
        said, table, notes = scored(cluster, address, "connect", SPARK_CONNECT_AUTHENTICATE_TOKEN="told")
    finally:
        server.stop()
    assert said["master"] == cluster.url
    assert table == locally
    assert said["frame"] == locally
    assert said["slots"].startswith("slots at work: 2")
    assert {len(executors) for executors in notes.values()} <= {1, 2}


@pytest.mark.promise("O202")
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("no_work_folder")
def test_local_cluster_gives_the_same_rows(cluster, locally):
    """Two executors in processes of their own, on the driver's host."""
    said, table, notes = scored(cluster, "local-cluster[2,1,1024]", "local-cluster")
    assert table == locally
    assert said["frame"] == locally
    assert said["slots"] == "slots at work: 2, 1 on each worker, counted from spark.master=local-cluster[2,1,1024]"
    assert len(notes["table"]) == 2

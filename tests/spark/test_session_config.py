"""Settings under which Spark would hang, idle or fail late are refused up front, with the way out."""

import logging
import os
import socket
import sys

import pytest

from sparktorch_assets.errors import HostError
from sparktorch_assets.spark.session import start as session
from sparktorch_assets.spark.session.config import check_session_config, default_config
from sparktorch_assets.spark.session.worker_python import check_local_python, check_worker, explain_worker_failure

TASK, EXECUTOR, CORES = "spark.task.resource.gpu.amount", "spark.executor.resource.gpu.amount", "spark.executor.cores"


@pytest.mark.parametrize("key", [TASK, EXECUTOR, "spark.driver.resource.gpu.amount"])
@pytest.mark.parametrize("master", ["local", "local[2]", "local[*]", "local[4,2]"])
def test_local_mode_with_gpu_amounts_is_refused(master, key):
    """Spark would wait for ever at 0 tasks."""
    with pytest.raises(HostError, match=r"schedules no GPUs in local mode.*forever.*SlotPolicy.*cluster manager"):
        check_session_config(master, {key: "1"})


@pytest.mark.parametrize(
    ("master", "config"),
    [
        ("local[2]", {}),
        ("local[2]", {TASK: "0"}),
        ("local-cluster[2,2,1024]", {TASK: "1", EXECUTOR: "2"}),
        ("spark://host:7077", {TASK: "0.5", EXECUTOR: "2", CORES: "4"}),
        ("spark://host:7077", {TASK: "0.25", EXECUTOR: "1", CORES: "2"}),  # one GPU: packing is what is asked for
        ("spark://host:7077", {TASK: "0.25", EXECUTOR: "2", CORES: "8"}),  # enough tasks for both
        (None, {TASK: "0.25"}),
    ],
)
def test_what_works_is_let_through(master, config):
    """No false alarms."""
    check_session_config(master, config)


@pytest.mark.parametrize(
    ("config", "amount"),
    [({TASK: "0.25", EXECUTOR: "2", CORES: "4"}, "0.5"), ({TASK: "0.5", EXECUTOR: "4", CORES: "4"}, "1")],
)
def test_amounts_that_leave_gpus_idle_are_refused_with_one_that_does_not(config, amount):
    """Spark fills the first GPU before it takes the next; the amount that the message names passes."""
    with pytest.raises(HostError, match=rf"would stay idle. Set {TASK}={amount}, or raise spark.executor.cores"):
        check_session_config("spark://host:7077", config)
    check_session_config("spark://host:7077", {**config, TASK: amount})


def test_unknown_cores_are_warned_of(caplog):
    """Without spark.executor.cores it cannot be told: a warning, no error."""
    with caplog.at_level(logging.WARNING):
        check_session_config("spark://host:7077", {TASK: "0.25", EXECUTOR: "2"})
    assert "some of its 2 GPUs stay idle" in caplog.text


def test_an_amount_that_is_no_number_is_named():
    """Spark's own message does not name the setting."""
    with pytest.raises(HostError, match=r"gpu\.amount='two' is not a number"):
        check_session_config("local[2]", {TASK: "two"})


def test_a_local_session_listens_on_loopback_alone():
    """Nothing of a local session can be reached from elsewhere; a cluster's driver must be."""
    local = default_config("local[2]")
    assert {local[key] for key in local if key.endswith(("host", "bindAddress", "binding.address"))} == {"127.0.0.1"}
    assert "spark.driver.host" not in default_config("spark://host:7077")
    assert all(key.startswith("spark.sql.") for key in default_config(None))


def fake_python(folder, output):
    script = folder / "python"
    script.write_text(f"#!/bin/sh\necho {output}\n")
    script.chmod(0o755)
    return str(script)


def test_workers_with_another_python_are_refused_before_the_jvm_starts(tmp_path):
    """Both versions, the path, and the setting that chooses it."""
    ours = f"{sys.version_info[0]}.{sys.version_info[1]}"
    with pytest.raises(HostError, match=rf"Python 3\.8 \(.*/python\), the driver runs Python {ours}.*PYSPARK_PYTHON"):
        check_local_python(fake_python(tmp_path, "3.8"))


def test_workers_without_torch_are_refused(tmp_path):
    """What is missing, and where."""
    ours = f"{sys.version_info[0]}.{sys.version_info[1]}"
    with pytest.raises(HostError, match=r"/python\) has no pyarrow and no torch: install.*PYSPARK_PYTHON"):
        check_local_python(fake_python(tmp_path, f"{ours} pyarrow torch"))


def test_a_python_that_does_not_run_is_named():
    """A mistyped PYSPARK_PYTHON."""
    with pytest.raises(HostError, match="PYSPARK_PYTHON='/not/python', which fails"):
        check_local_python("/not/python")


def test_the_worker_checks_itself():
    """On a cluster, the worker is the first that can know."""
    check_worker(f"{sys.version_info[0]}.{sys.version_info[1]}")
    with pytest.raises(HostError, match=r"workers run Python .* the driver runs Python 3\.8"):
        check_worker("3.8")
    with pytest.raises(HostError, match="has no not_a_module: install"):
        check_worker(f"{sys.version_info[0]}.{sys.version_info[1]}", ["not_a_module"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.9 than that in driver: 3.11, PySpark cannot",
            r"workers run Python 3\.9, the driver runs Python 3\.11.*PYSPARK_PYTHON",
        ),
        ("Traceback ...\nModuleNotFoundError: No module named 'torch'", "has no torch"),
        ("...\nsparktorch_assets.errors.HostError: the reason\n", "^the reason$"),
    ],
)
def test_failures_of_workers_are_explained(text, message):
    """Spark's own errors become ours; others stay what they are."""
    error = explain_worker_failure(RuntimeError(text))
    with pytest.raises(HostError, match=message):
        raise error
    assert explain_worker_failure(RuntimeError("ValueError: poison")) is None


@pytest.mark.parametrize(
    ("service", "port", "way_out"),
    [
        ("sparkDriver", "(starting from 4040)", r"port 4040 is taken. Set spark.driver.port to a free port"),
        ("SparkUI", "(starting from 4041)", r"port 4041 is taken. Set spark.ui.port"),
        ("sparkDriver", "(on a random free port)", "every port that it tried is taken"),
        (
            "org.apache.spark.sql.connect.service.SparkConnectService",
            "(starting from 15002)",
            r"SparkConnectService: port 15002 is taken.*remote='sc://127.0.0.1:15002'",
        ),
    ],
)
def test_a_taken_port_is_named(service, port, way_out):
    """Spark's bind failure, as it stands in the Java exception, names the port and the way out."""
    java = (
        f"java.net.BindException: Address already in use: Service '{service}' failed after 16 retries {port}! Consider"
    )
    with pytest.raises(HostError, match=way_out), session._explained():
        raise RuntimeError(java)


def test_a_taken_connect_port_is_found_before_the_jvm_starts():
    """Spark's client looks for a local server on one port only."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(HostError, match=rf"port {port} is taken. Another Spark Connect server"):
            session.require_free_port(port)


def test_connect_without_its_packages_is_refused(monkeypatch):
    """Without grpcio, `python -c` would end silently."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(HostError, match=r"pip install 'pyspark\[connect\]'"):
        session.start_session(remote="sc://host")


def test_own_java_options_replace_ours_but_for_the_log():
    """Two garbage collectors would keep Java from starting."""
    merged = session._merge(default_config("local[2]"), {"spark.driver.extraJavaOptions": "-XX:+UseG1GC"})
    assert "UseSerialGC" not in merged["spark.driver.extraJavaOptions"]
    assert "log4j2" in merged["spark.driver.extraJavaOptions"]


def test_gpu_amounts_are_refused_before_anything_starts(monkeypatch):
    """start_session checks first: no Java is looked for."""
    monkeypatch.setattr(session, "prepare_java", lambda: pytest.fail("looked for Java"))
    monkeypatch.setattr(session, "_running_context", lambda: None)
    for key in ("SPARK_CONNECT_MODE_ENABLED", "SPARK_REMOTE"):
        monkeypatch.delenv(key, raising=False)
    with pytest.raises(HostError, match="schedules no GPUs"):
        session.start_session(master="local[2]", config={TASK: 1})
    assert "SPARK_LOCAL_IP" not in os.environ

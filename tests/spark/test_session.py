"""One session a process: what fits is shared, what does not is refused with a reason."""

import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sparktorch_assets.errors import HostError
from sparktorch_assets.spark.session import start_session
from sparktorch_assets.spark.worker_python import check_session_python


def test_the_running_session_is_shared(spark):
    """Asking again for the same, or for any local master, gives the session that runs."""
    assert start_session(master="local[2]") is spark
    assert start_session() is spark
    assert os.environ["PYSPARK_PYTHON"]


@pytest.mark.parametrize("master", ["local[3]", "spark://127.0.0.1:7077"])
def test_another_master_is_refused(spark, master):
    """Spark would silently go on with the old one."""
    with pytest.raises(HostError, match=r"on master 'local\[2\]' runs in this process.*spark.stop\(\)"):
        start_session(master=master)


def test_connect_beside_a_classic_session_is_refused(spark):
    """Spark allows one kind a process."""
    with pytest.raises(HostError, match=r"classic Spark session runs in this process.*spark.stop\(\)"):
        start_session(remote="sc://127.0.0.1:15002")


def test_settings_that_come_too_late_are_named(spark, caplog):
    """Static settings of a running session cannot change; session settings do."""
    with caplog.at_level(logging.WARNING):
        start_session(config={"spark.driver.memory": "7g", "spark.sql.shuffle.partitions": 2})
    assert "these come too late: spark.driver.memory. Stop it first" in caplog.text
    assert "shuffle" not in caplog.text


def test_defaults_hold(spark):
    """Arrow, UTC, loopback, no UI, no folder in the current directory."""
    assert spark.conf.get("spark.sql.session.timeZone") == "UTC"
    assert spark.conf.get("spark.sql.execution.arrow.pyspark.enabled") == "true"
    assert spark.sparkContext.uiWebUrl is None
    assert spark.conf.get("spark.driver.host") == "127.0.0.1"
    assert not {"spark-warehouse", "artifacts", "metastore_db", "work"} & {path.name for path in Path.cwd().iterdir()}


PROGRAM = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from sparktorch_assets.spark.session import start_session
where = {sys.argv[1]: "local[2]"}
barrier = threading.Barrier(4)
def start(number):
    barrier.wait()
    zone = {"spark.sql.session.timeZone": "Europe/Berlin"} if number == 0 else {}
    return start_session(**where, config={"spark.driver.memory": "1g", **zone})
with ThreadPoolExecutor(4) as pool:
    sessions = list(pool.map(start, range(4)))
print({session.conf.get("spark.sql.session.timeZone") for session in sessions})
sessions[0].stop()
"""


@pytest.mark.jvm
@pytest.mark.parametrize("kind", ["master", "remote"])
def test_threads_that_start_a_session_at_once_keep_the_zone_that_one_of_them_asked_for(kind):
    """The others asked for none: our default is not set over it."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.strip() == "{'Europe/Berlin'}", done.stderr


def test_a_session_whose_workers_run_another_python_is_refused(tmp_path):
    """A session that the user started runs the PATH's python3 unless told otherwise: said before anything runs."""
    bare = tmp_path / "python3"
    bare.write_text(f"#!/bin/sh\necho '{sys.version_info[0]}.{sys.version_info[1]}' pyarrow torch sparktorch_assets\n")
    bare.chmod(0o755)
    session = SimpleNamespace(_sc=SimpleNamespace(master="local[2]", pythonExec=str(bare)))
    with pytest.raises(HostError, match="no sparktorch_assets: install the same packages.*set PYSPARK_PYTHON"):
        check_session_python(session)
    check_session_python(SimpleNamespace(_sc=SimpleNamespace(master="local[2]", pythonExec=sys.executable)))
    check_session_python(SimpleNamespace())  # Spark Connect: the server's affair

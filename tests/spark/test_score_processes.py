"""Scoring in processes of its own: on Spark Connect, and with a driver that is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lone_files import lone_file

from sparktorch_assets.lake.table import Table, table_version

HERE = Path(__file__).parent

PROGRAM = """
import dataclasses, os, signal, sys
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score import refresh, table as score
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature

task = MlTask(name="t", input="source", model=ModelSpec(factory="score_nets:linear"),
              features=[NumericFeature(columns=["a", "b"])], labels=["x", "y", "z"])
root, how = sys.argv[1:]

def session():
    assert "pyspark" not in sys.modules
    from sparktorch_assets.spark.session.start import start_session
    config = {"spark.driver.memory": "1g"}
    if how == "cluster":
        config |= {"spark.executor.memory": "1g", "spark.executorEnv.PYTHONPATH": os.environ["PYTHONPATH"]}
        return start_session(master="local-cluster[2,1,1024]", config=config)
    return start_session(remote="local[2]", config=config) if how == "connect" else start_session(
        master="local[2]", config=config)

if how == "killed":
    refresh.commit_plans = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
if how == "idle":
    session = None
if how == "cluster":
    task = dataclasses.replace(task, model=ModelSpec(
        factory="score_nets:kills_executor_once", arguments={"marker": f"{root}.killed"}))
seen = []
report = score.score_table(session, f"{root}/source", task, output_table=f"{root}/table",
                           model_loader=ModelLoader(root), on_progress=seen.append)
assert "torch" not in sys.modules
if how == "idle":
    assert "pyspark" not in sys.modules
else:
    assert seen[-1].rows_done == 90
print("SHARDS", report.shards_new, report.shards_resumed, report.rows_table, report.slots)
"""


def run(root: Path, how: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(root), how],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.fixture
def root(tmp_path):
    (tmp_path / "source").mkdir()
    for name in ("one", "two", "three"):
        table = pa.table({"id": [f"{name}-{row}" for row in range(30)], "a": np.arange(30.0), "b": np.arange(30.0)})
        pq.write_table(table, tmp_path / "source" / lone_file(name))
    return tmp_path


@pytest.mark.slow
@pytest.mark.jvm
def test_spark_connect_scores_and_shows_progress(root):
    done = run(root, "connect")
    assert "SHARDS 3 0 90 2" in done.stdout, done.stdout + done.stderr
    assert Table(str(root / "table")).row_count() == 90
    assert table_version(str(root / "table")) == 0


@pytest.mark.slow
@pytest.mark.promise("T7")
@pytest.mark.jvm
def test_a_driver_killed_before_its_commit_leaves_parts_that_the_next_run_commits_without_spark(root):
    assert run(root, "killed").returncode == -signal.SIGKILL
    assert table_version(str(root / "table")) is None
    done = run(root, "idle")
    assert "SHARDS 0 3 90 0" in done.stdout, done.stdout + done.stderr
    assert Table(str(root / "table")).row_count() == 90


@pytest.mark.slow
@pytest.mark.jvm
@pytest.mark.usefixtures("no_work_folder")
def test_an_executor_killed_in_the_middle_of_a_shard_costs_its_shards_and_not_the_run(root):
    """Two executors, one of them killed with -9: Spark starts another one, or the run takes up what is missing itself."""
    done = run(root, "cluster")
    assert Path(f"{root}.killed").exists(), done.stdout + done.stderr
    assert "SHARDS 3 0 90 2" in done.stdout, done.stdout + done.stderr
    assert Table(str(root / "table")).row_count() == 90
    assert table_version(str(root / "table")) == 0

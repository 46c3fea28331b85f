"""Slots: models a GPU x GPUs x workers, or the tasks that run at once; counted without torch and without a job."""

import logging
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jobs_here import JobsHere

from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.spark.score.job.packs import deal
from sparktorch_assets.spark.score.table import score_table
from sparktorch_assets.spark.session import cluster_size as module
from sparktorch_assets.spark.session import slot_count
from sparktorch_assets.spark.session.cluster_size import cluster_size
from sparktorch_assets.spark.session.slot_count import find_slots
from sparktorch_assets.tasks import MlTask, ModelSpec, NumericFeature, SlotPolicy


class FakeScheduler:
    """What a classic session's scheduler says; each look takes the next of the counts, the last one stays."""

    def __init__(self, looks):
        self._looks = list(looks)

    def maxNumConcurrentTasks(self, _profile):
        executors, tasks = self._looks[0]
        if len(self._looks) > 1:
            del self._looks[0]
        self._executors = executors
        return tasks

    def getExecutorMemoryStatus(self):
        return SimpleNamespace(size=lambda: self._executors + 1)  # the driver counts as one

    def resourceProfileManager(self):
        return SimpleNamespace(defaultResourceProfile=lambda: None)


def session(*looks, age_s=3600.0, **conf):
    """A classic session as far as slots go, with a fake configuration and scheduler. `looks`: (executors, tasks)."""
    settings = {"spark.master": "spark://host:7077", **{key.replace("_", "."): value for key, value in conf.items()}}
    scheduler = FakeScheduler(looks or [(3, 12)])
    return SimpleNamespace(
        conf=settings,
        sparkContext=SimpleNamespace(
            _jsc=SimpleNamespace(sc=lambda: scheduler),
            applicationId=f"app-{id(scheduler)}",
            startTime=(time.time() - age_s) * 1000,
            defaultParallelism=64,  # never asked
        ),
    )


DYNAMIC = {"spark_dynamicAllocation_enabled": "true"}


@pytest.mark.parametrize(
    ("conf", "size"),
    [
        ({"spark_master": "local"}, (1, 1, "exact")),
        ({"spark_master": "local[3]"}, (1, 3, "exact")),
        ({"spark_master": "local[ 3 , 2 ]"}, (1, 3, "exact")),
        ({"spark_master": "local[*]"}, (1, 12, "exact")),
        ({"spark_master": "local[*,2]"}, (1, 12, "exact")),
        ({"spark_master": "local[4]", "spark_task_cpus": "2"}, (1, 2, "exact")),
        ({"spark_master": "local[2]", "spark_default_parallelism": "64"}, (1, 2, "exact")),
        ({"spark_master": "local-cluster[3,1,1024]"}, (3, 3, "exact")),
        ({"spark_master": "local-cluster[2, 5, 1024]", "spark_task_cpus": "2"}, (2, 4, "exact")),
        ({"spark_master": "local-cluster[2,4,1024]", "spark_executor_cores": "2"}, (4, 8, "exact")),
        ({"spark_master": "local-cluster[2,1,1024]", **DYNAMIC}, (2, 2, "at most")),
        ({"spark_master": "yarn", "spark_executor_instances": "5", "spark_executor_cores": "4"}, (5, 20, "exact")),
        ({"spark_master": "yarn"}, (2, 2, "exact")),
        (
            {"spark_master": "k8s://x", "spark_executor_instances": "5", "spark_executor_cores": "5", "spark_task_cpus": "2"},
            (5, 10, "exact"),
        ),
        (
            {"spark_master": "yarn", **DYNAMIC, "spark_dynamicAllocation_maxExecutors": "25", "spark_executor_cores": "4"},
            (25, 100, "at most"),
        ),
        ({"spark_master": "yarn", **DYNAMIC, "spark_executor_instances": "9"}, (3, 12, "so far")),
        ({"spark_master": "yarn", **DYNAMIC, "spark_dynamicAllocation_maxExecutors": "2147483647"}, (3, 12, "so far")),
        ({}, (3, 12, "exact")),
        ({"spark_executor_instances": "9"}, (3, 12, "exact")),
        ({"spark_cores_max": "40"}, (3, 40, "at most")),
        ({"spark_cores_max": "42", "spark_executor_cores": "4"}, (10, 40, "at most")),
        ({**DYNAMIC, "spark_cores_max": "8", "spark_executor_cores": "4"}, (2, 8, "at most")),
    ],
)  # fmt: skip
def test_what_the_configuration_says_and_else_what_has_registered(conf, size):
    """With fakes of the configuration and the scheduler."""
    found = cluster_size(session(**conf))
    assert (found.executors, found.tasks, found.certainty) == size
    assert found.source


@pytest.fixture
def fast(monkeypatch):
    """Two hundredths of a second stand for two seconds."""
    monkeypatch.setattr(module, "_STABLE_S", 0.02)
    monkeypatch.setattr(module, "_LOOK_S", 0.001)


@pytest.mark.usefixtures("fast")
def test_executors_that_register_one_after_the_other_are_waited_for_once():
    """Until their number stays; with a fake scheduler."""
    started = session(*[(0, 0)] * 40, *[(1, 2)] * 3, *[(2, 4)] * 3, (3, 6), age_s=1.0)
    found = cluster_size(started)
    assert (found.executors, found.tasks, found.certainty) == (3, 6, "exact")
    module._STABLE_S = 60.0
    assert cluster_size(started).tasks == 6  # and not a minute later


@pytest.mark.usefixtures("fast")
def test_nobody_waits_for_ever():
    """Spark's own setting bounds the wait, from the application's start on; with a fake scheduler."""
    conf = {"spark_scheduler_maxRegisteredResourcesWaitingTime": "200ms"}
    before = time.monotonic()
    found = cluster_size(session((0, 0), age_s=0.0, **conf))
    assert (found.executors, found.tasks, found.certainty) == (1, 1, "so far")
    assert time.monotonic() - before < 30
    before = time.monotonic()
    cluster_size(session((0, 0), age_s=31.0))
    assert time.monotonic() - before < 1


@pytest.mark.promise("M65")
@pytest.mark.parametrize(
    ("conf", "policy", "slots"),
    [
        ({}, {}, 12),
        ({"spark_executor_resource_gpu_amount": "2"}, {}, 2 * 2 * 3),
        ({"spark_executor_resource_gpu_amount": "2", "spark_master": "yarn", "spark_executor_instances": "5"},
         {"models_per_gpu": 1}, 1 * 5),  # one core each
        ({"spark_executor_resource_gpu_amount": "2"}, {"device": "cpu"}, 12),
        ({"spark_executor_resource_gpu_amount": "2", "spark_master": "local-cluster[2,4,1024]"}, {}, 2 * 2 * 2),
        ({"spark_executor_resource_gpu_amount": "2", "spark_master": "local-cluster[2,2,1024]"}, {}, 2 * 2),  # cores
        ({}, {"gpus_per_worker": 2, "workers": 2}, 2 * 2 * 2),
        ({}, {"gpus_per_worker": 4, "workers": 2}, 4 * 2),  # four cores each
        ({"spark_executor_resource_gpu_amount": "2", "spark_task_resource_gpu_amount": "1"}, {}, 2 * 3),
        ({"spark_executor_resource_gpu_amount": "2", "spark_task_resource_gpu_amount": "2"}, {}, 1 * 3),
        ({}, {"workers": 5}, 5 * 4),
        ({"spark_master": "local[2]"}, {"workers": 5, "device": "cpu"}, 2),
        ({"spark_executor_resource_gpu_amount": "2"}, {"slots": 7}, 7),
        ({"spark_executor_resource_gpu_amount": "2"}, {"gpus_per_worker": 0}, 12),
        ({}, {"device": "cuda"}, 12),
    ],
)  # fmt: skip
def test_slots_on_a_cluster(conf, policy, slots):
    """GPUs that Spark schedules, else cores; the policy's own figures win. With a fake configuration."""
    assert find_slots(session(**conf), SlotPolicy(**policy)).slots == slots


def test_local_slots_are_this_hosts_gpus(monkeypatch):
    """Local mode: Spark schedules no GPUs, so the host's are counted, once."""
    monkeypatch.setattr(slot_count, "cuda_count", lambda: 8)
    local = session(spark_master="local[24]")
    assert find_slots(local, SlotPolicy()).slots == 16
    assert find_slots(local, SlotPolicy()).on_a_worker == 16
    assert find_slots(local, SlotPolicy(device="cpu")).slots == 24


def test_executors_that_come_later_find_work():
    """A cluster of unknown size gets as many packs as a large one; where the slots are known, or the most there may be,
    each gets six."""
    shards = [SimpleNamespace(place=number, bytes=1) for number in range(1000)]

    def packs(*looks, **conf):
        dealt = deal(shards, find_slots(session(*looks, **conf), SlotPolicy(device="cpu")).to_deal_for)
        assert sorted(shard.place for pack in dealt for shard in pack) == list(range(1000))
        return len(dealt)

    assert packs((1, 2)) == 12
    assert packs((1, 2), spark_master="yarn", **DYNAMIC) == 600
    assert packs((1, 2), spark_master="yarn", **DYNAMIC, spark_dynamicAllocation_maxExecutors="50") == 300
    assert packs(spark_master="local[2]") == 12


def test_a_run_says_once_what_its_slots_were_counted_from(tmp_path, caplog):
    """One sentence, at INFO."""
    pq.write_table(pa.table({"x": [1.0]}), tmp_path / "in.parquet")
    task = MlTask(
        name="echo", input="i", features=[NumericFeature(columns=["x"])], labels=["no", "yes"],
        model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
    )  # fmt: skip
    with caplog.at_level(logging.INFO):
        score_table(JobsHere(), str(tmp_path / "in.parquet"), task, output_table=str(tmp_path / "out"), model_loader=ModelLoader(tmp_path), slots=SlotPolicy(device="cpu"))  # fmt: skip
    said = [record.getMessage() for record in caplog.records if "slots at work" in record.getMessage()]
    assert said == ["task 'echo': slots at work: 1, 1 on each worker, counted from spark.master=local[1]"]


@pytest.mark.promise("O205")
def test_a_cluster_without_executors_is_reported(caplog):
    """Spark's own warning is not shown, and the job would wait without a word."""
    settings = {
        "spark_executor_memory": "64g",
        "spark_driver_host": "driver",
        "spark_scheduler_maxRegisteredResourcesWaitingTime": "0s",
    }
    with caplog.at_level(logging.WARNING):
        assert cluster_size(session((0, 0), **settings)).certainty == "so far"
    assert "no executor has registered yet" in caplog.text
    assert "a worker with 64g free" in caplog.text
    assert "spark.driver.host=driver" in caplog.text
    caplog.clear()
    cluster_size(session((2, 2), **settings))
    assert not caplog.records


REAL = """
import os, sys
from types import SimpleNamespace
from sparktorch_assets.spark.session.cluster_size import cluster_size
from sparktorch_assets.spark.session.start import start_session
config = {"spark.driver.memory": "1g", "spark.executor.memory": "1g", "spark.default.parallelism": "64",
          "spark.executorEnv.PYTHONPATH": os.environ["PYTHONPATH"]}
spark = start_session(master=sys.argv[1], config=config)
silent = SimpleNamespace(conf={"spark.master": "spark://host:7077"}, sparkContext=spark.sparkContext)
for session in (silent, spark) if "cluster" in sys.argv[1] else (spark,):
    found = cluster_size(session)
    print("SIZE", found.executors, found.tasks, found.certainty)
spark.stop()
"""


@pytest.mark.slow
@pytest.mark.jvm
@pytest.mark.timeout(280)
@pytest.mark.usefixtures("no_work_folder")
@pytest.mark.parametrize(("master", "sizes"), [("local-cluster[2,1,1024]", 2), ("local[2]", 1)])
def test_a_real_session_is_counted_at_once_and_right(master, sizes):
    """Real executors, also behind a fake configuration that says nothing of them; `spark.default.parallelism` is not the
    number of cores."""
    done = subprocess.run(
        [sys.executable, "-c", REAL, master],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=270,
        check=False,
    )
    executors = 2 if "cluster" in master else 1
    assert done.stdout.splitlines()[-sizes:] == [f"SIZE {executors} 2 exact"] * sizes, done.stdout + done.stderr

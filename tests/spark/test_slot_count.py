"""Slots: models a GPU x GPUs x workers, or cores; counted without torch and without a job."""

from types import SimpleNamespace

import pytest

from sparktorch_assets.spark import slot_count
from sparktorch_assets.spark.slot_count import count_cores, count_local_gpus, count_slots, slots_on_a_worker
from sparktorch_assets.tasks import SlotPolicy


def session(cores=4, executors=3, **conf):
    """A classic session as far as slots go; the driver counts as one of Spark's executors."""
    settings = {"spark.master": "spark://host:7077", **{key.replace("_", "."): value for key, value in conf.items()}}
    status = SimpleNamespace(size=lambda: executors + 1)
    scala = SimpleNamespace(getExecutorMemoryStatus=lambda: status)
    return SimpleNamespace(
        conf=settings,
        sparkContext=SimpleNamespace(defaultParallelism=cores, _jsc=SimpleNamespace(sc=lambda: scala)),
    )


@pytest.mark.promise("M65")
@pytest.mark.parametrize(
    ("conf", "policy", "slots"),
    [
        ({}, {}, 4),
        ({"spark_executor_resource_gpu_amount": "2"}, {}, 2 * 2 * 3),
        ({"spark_executor_resource_gpu_amount": "2", "spark_executor_instances": "5"}, {"models_per_gpu": 1}, 2 * 5),
        ({"spark_executor_resource_gpu_amount": "2"}, {"device": "cpu"}, 4),
        ({"spark_executor_resource_gpu_amount": "2", "spark_master": "local-cluster[2,2,1024]"}, {}, 2 * 2 * 2),
        ({}, {"gpus_per_worker": 4, "workers": 2}, 2 * 4 * 2),
        ({"spark_executor_resource_gpu_amount": "2"}, {"slots": 7}, 7),
        ({"spark_executor_resource_gpu_amount": "2"}, {"gpus_per_worker": 0}, 4),
        ({}, {"device": "cuda"}, 4),
    ],
)
def test_slots_on_a_cluster(conf, policy, slots):
    """GPUs that Spark schedules, else cores; the policy's own figures win."""
    assert count_slots(session(**conf), SlotPolicy(**policy)) == slots


def test_local_slots_are_this_hosts_gpus(monkeypatch):
    """Local mode: Spark schedules no GPUs, so the host's are counted, once."""
    monkeypatch.setattr(slot_count, "count_local_gpus", lambda: 8)
    local = session(cores=2, spark_master="local[2]")
    assert count_slots(local, SlotPolicy()) == 16
    assert slots_on_a_worker(local, SlotPolicy()) == 16
    assert count_slots(local, SlotPolicy(device="cpu")) == 2


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [
        (None, 3),
        ("", 0),
        ("-1", 0),
        ("0", 1),
        ("0,2", 2),
        ("0,9,1", 1),
        ("GPU-aa,GPU-bb", 2),
        ("NoDevFiles", 0),
        ("0, 1", 2),
    ],
)
def test_gpus_are_those_that_cuda_will_see(monkeypatch, tmp_path, visible, gpus):
    """CUDA_VISIBLE_DEVICES hides devices, and ends at the first that is not there."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        "#!/bin/sh\nfor i in 0 1 2; do echo \"GPU $i: NVIDIA H100 (UUID: GPU-$i)\"; done\necho '  MIG 1g.5gb'\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert count_local_gpus() == gpus


def test_no_driver_means_no_gpus(monkeypatch, tmp_path):
    """Neither nvidia-smi nor /proc/driver/nvidia; and a tool that fails is no GPU either."""
    monkeypatch.setattr(slot_count, "_PROC_GPUS", tmp_path / "gpus")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert count_local_gpus() == 0
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert count_local_gpus() == 0
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    assert count_local_gpus() == 1


def test_local_cores(spark):
    """local[2] has two."""
    assert count_cores(spark) == 2
    assert count_slots(spark, SlotPolicy(device="cpu")) == 2

"""Devices: which GPU Spark means by an address, and that nothing computes elsewhere than it should."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparktorch_assets.errors import DeviceError
from sparktorch_assets.nvidia_gpus import Gpu
from sparktorch_assets.predict.model import device

TWO = (Gpu("GPU-aa11"), Gpu("GPU-bb22"))


@pytest.mark.promise("M66", "O221")
@pytest.mark.parametrize(
    ("address", "visible", "gpus", "index"),
    [
        ("1", None, 2, 1),
        ("3", "2,3", 2, 1),
        ("0", "3", 1, 0),  # counted within CUDA_VISIBLE_DEVICES already
        ("GPU-b", "GPU-a,GPU-b", 2, 1),
        ("1", "GPU-bb22", 1, 0),  # the host's number, among names
        ("1", "GPU-bb,GPU-aa", 2, 0),
        ("GPU-bb22", "1,0", 2, 0),  # a name, among the host's numbers
        ("GPU-bb22", None, 2, 1),
        ("GPU-bb", "GPU-aa11,GPU-bb22", 2, 1),
        ("MIG-x", "MIG-x", 1, 0),
    ],
)
def test_spark_addresses_are_translated(address, visible, gpus, index):
    """CUDA_VISIBLE_DEVICES renumbers; the host's number or name is found in it."""
    assert device.visible_index(address, visible, gpus, TWO) == index


@pytest.mark.parametrize(("address", "visible"), [("5", "0,1"), ("GPU-cc", None), ("GPU-aa11", "GPU-bb22")])
def test_an_address_that_is_not_visible_is_an_error(address, visible):
    """Rather than computing on somebody else's GPU."""
    with pytest.raises(DeviceError, match=f"Spark assigned GPU '{address}' to the task, but this worker sees only"):
        device.visible_index(address, visible, 2, TWO)


@pytest.mark.promise("M63")
@pytest.mark.parametrize(("policy", "gpus"), [("cpu", 4), ("auto", 0)])
def test_cpu(policy, gpus, monkeypatch, tmp_path):
    """`cpu` never takes a GPU; `auto` takes the CPU where there is none."""
    monkeypatch.setattr(device, "gpus_visible", lambda: gpus)
    chosen = device.choose_device(policy, models_per_gpu=2, partition_index=0, leases=tmp_path)
    assert (str(chosen), chosen.lease) == ("cpu", None)


@pytest.mark.promise("O222")
def test_a_gpu_that_is_not_there_is_never_replaced_by_the_cpu(monkeypatch):
    """Whether the policy insists on one, or Spark has assigned one."""
    monkeypatch.setattr(device, "gpus_visible", lambda: 0)
    with pytest.raises(DeviceError, match="set device: auto"):
        device.choose_device("cuda", models_per_gpu=2, partition_index=0)
    with pytest.raises(DeviceError, match="Spark assigned GPU '1' to the task, but torch sees no GPU here"):
        device.choose_device("auto", models_per_gpu=2, partition_index=0, addresses=["1"])


MIG = """
import os, sys
import pretended_gpus
from sparktorch_assets.errors import DeviceError
from sparktorch_assets.predict.model.device import choose_device
for address in sys.argv[1:]:
    try:
        chosen = choose_device("auto", models_per_gpu=2, partition_index=0, addresses=[address])
        print(chosen, os.environ["CUDA_VISIBLE_DEVICES"])
    except DeviceError as error:
        print(error)
"""


@pytest.mark.promise("O223")
def test_a_mig_instance_is_the_only_device_of_its_process():
    """The variable is set before CUDA starts. Another instance needs another process, and the message says how."""
    done = subprocess.run(
        [sys.executable, "-c", MIG, "MIG-0a", "MIG-0a", "MIG-0b"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])},
    )
    first, again, other = done.stdout.splitlines()
    assert (first, again) == ("cuda:0 MIG-0a", "cuda:0 MIG-0a")
    assert "Spark assigned 'MIG-0b' to the task, but this worker process computes on MIG-0a already" in other
    assert "spark.python.worker.reuse=false" in other

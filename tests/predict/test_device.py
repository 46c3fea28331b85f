"""Devices: who gets which GPU, and that a lease ends with its process."""

import os
import signal
import subprocess
import sys

import pytest

from sparktorch_assets.errors import DeviceError
from sparktorch_assets.predict.model import device


@pytest.mark.promise("M66")
@pytest.mark.parametrize(
    ("address", "visible", "gpus", "index"),
    [
        ("1", None, 2, 1),
        ("3", "2,3", 2, 1),
        ("0", "3", 1, 0),  # counted within CUDA_VISIBLE_DEVICES already
        ("GPU-b", "GPU-a,GPU-b", 2, 1),
    ],
)
def test_spark_addresses_are_translated(address, visible, gpus, index):
    """CUDA_VISIBLE_DEVICES renumbers; the host's number is found in it."""
    assert device.visible_index(address, visible, gpus) == index


def test_an_address_that_is_not_visible_is_an_error():
    """Rather than computing on somebody else's GPU."""
    with pytest.raises(DeviceError, match="Spark assigned GPU '5' to the task.*sees only 0, 1"):
        device.visible_index("5", "0,1", 2)


@pytest.mark.promise("M63")
@pytest.mark.parametrize(("policy", "gpus"), [("cpu", 4), ("auto", 0)])
def test_cpu(policy, gpus, tmp_path):
    """`cpu` never takes a GPU; `auto` takes the CPU where there is none."""
    assert device.choose_gpu(policy, gpus=gpus, models_per_gpu=2, partition_index=0, leases=tmp_path) is None


def test_cuda_without_a_gpu_names_the_way_out():
    """`cuda` insists."""
    with pytest.raises(DeviceError, match="set device: auto"):
        device.choose_gpu("cuda", gpus=0, models_per_gpu=2, partition_index=0)


LEASE = (
    "import sys, time\nfrom pathlib import Path\nfrom sparktorch_assets.predict.model.device import choose_gpu\n"
    "print(choose_gpu('auto', gpus=2, models_per_gpu=2, partition_index=1, leases=Path(sys.argv[1])), flush=True)\n"
    "time.sleep(60)\n"
)


def lease(folder):
    process = subprocess.Popen([sys.executable, "-c", LEASE, str(folder)], stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


@pytest.mark.promise("M66")
def test_leases_spread_over_gpus_and_end_with_their_process(tmp_path):
    """Four slots on two GPUs: two each, one GPU after the other; a fifth falls back to its partition's number; a
    killed worker's place is free at once."""
    started = []
    try:
        started = [lease(tmp_path) for _ in range(5)]
        assert [gpu for _, gpu in started] == ["0", "1", "0", "1", "1"]
        os.kill(started[2][0].pid, signal.SIGKILL)
        started[2][0].wait()
        started.append(lease(tmp_path))
        assert started[-1][1] == "0"
    finally:
        for process, _ in started:
            process.kill()
            process.wait()
            process.stdout.close()

"""Leases: never more processes on a GPU than it has, shared by all processes of the host; a process that ends, however it
does, leaves its lease to the others."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sparktorch_assets.predict.model import cache, device, gpu_lease
from sparktorch_assets.predict.model.gpu_lease import take_lease

IMPORTABLE = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
"""Where a process finds `pretended_gpus`. It must not be imported here, since it changes torch."""
LEASE = """
import sys, time
from pathlib import Path
import pretended_gpus
from sparktorch_assets.predict.model.device import choose_device
chosen = choose_device("auto", models_per_gpu=int(sys.argv[2]), partition_index=1, leases=Path(sys.argv[1]), wait=True)
print(chosen.gpu, flush=True)
sys.stdin.readline()
chosen.lease.release()
print("released", flush=True)
sys.stdin.readline()
"""


class Holder:
    """A process that takes a lease, and releases it when it is told to."""

    def __init__(self, folder, models_per_gpu, gpus):
        self.process = subprocess.Popen(
            [sys.executable, "-c", LEASE, str(folder), str(models_per_gpu)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PRETENDED_GPUS": str(gpus), "PYTHONPATH": IMPORTABLE},
        )

    def says(self):
        return self.process.stdout.readline().strip()

    def release(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.says() == "released"

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stdin.close()


@pytest.mark.promise("M66", "O224")
@pytest.mark.slow
def test_leases_spread_over_gpus_and_end_with_their_process(tmp_path):
    """Four slots on two GPUs: two each, one GPU after the other. A fifth process waits, until one releases its lease, or
    is killed."""
    holders = []

    def start():
        holders.append(Holder(tmp_path, 2, 2))
        return holders[-1]

    try:
        assert [start().says() for _ in range(4)] == ["0", "1", "0", "1"]
        fifth = start()
        time.sleep(3)  # it has imported torch by now
        holders[1].release()
        assert fifth.says() == "1"
        sixth = start()
        time.sleep(3)
        os.kill(holders[2].process.pid, signal.SIGKILL)
        assert sixth.says() == "0"
    finally:
        for holder in holders:
            holder.end()


@pytest.fixture
def fresh(monkeypatch):
    """A process that holds no lease."""
    monkeypatch.setattr(gpu_lease, "_held", [])
    monkeypatch.setattr(gpu_lease, "_last_gpu", [])


@pytest.mark.usefixtures("fresh")
def test_a_process_shares_its_lease_with_itself(tmp_path):
    """It is one slot: its lease ends with the last of its uses."""
    first = take_lease(("0", "1"), 1, tmp_path, wait=True)
    second = take_lease(("0", "1"), 1, tmp_path, wait=True)
    assert first is second
    first.release()
    assert gpu_lease._held == [first]
    second.release()
    assert gpu_lease._held == []


@pytest.mark.usefixtures("fresh")
def test_a_process_returns_to_the_gpu_that_has_its_models(tmp_path, monkeypatch):
    """Unless that has more leases taken than another one."""
    elsewhere = take_lease(("0", "1"), 2, tmp_path, wait=True)
    monkeypatch.setattr(gpu_lease, "_held", [])  # as in another process
    mine = take_lease(("0", "1"), 2, tmp_path, wait=True)
    mine.release()
    elsewhere.release()
    assert (elsewhere.gpu, mine.gpu) == (0, 1)
    assert take_lease(("0", "1"), 2, tmp_path, wait=True).gpu == 1


@pytest.mark.usefixtures("fresh")
def test_who_waits_gets_the_memory_as_well(tmp_path, monkeypatch):
    """The models of a process stay on its GPU for its next task, unless somebody waits for the lease."""
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: None)
    cache.forget_models()
    for key in (("a", "cuda:0"), ("a", "cpu")):
        cache.cached_model(key, object)
    take_lease(("0",), 1, tmp_path, wait=True).release()
    assert list(cache._models) == [("a", "cuda:0"), ("a", "cpu")]
    lease = take_lease(("0",), 1, tmp_path, wait=True)
    waiting = Holder(tmp_path, 1, 1)
    try:
        until = time.monotonic() + 60
        while not gpu_lease._somebody_waits(lease._folder) and time.monotonic() < until:
            second = take_lease(("0",), 1, tmp_path, wait=True)  # does not disturb who waits
            second.release()
            time.sleep(0.05)
        assert gpu_lease._somebody_waits(lease._folder)
        lease.release()
        assert list(cache._models) == [("a", "cpu")]
    finally:
        waiting.end()
        cache.forget_models()


@pytest.mark.usefixtures("fresh")
def test_leases_are_of_a_gpu_and_not_of_a_number(tmp_path, monkeypatch):
    """Processes whose CUDA_VISIBLE_DEVICES differ call different GPUs 0, and do not wait for each other."""
    one = take_lease(("GPU-a",), 1, tmp_path, wait=True)
    monkeypatch.setattr(gpu_lease, "_held", [])
    other = take_lease(("GPU-b", "GPU-a"), 1, tmp_path, wait=True)
    assert (one.gpu, one.name, other.gpu, other.name) == (0, "GPU-a", 0, "GPU-b")
    other.release()
    one.release()


@pytest.mark.usefixtures("fresh")
def test_who_must_not_wait_is_spread_over_the_gpus(tmp_path, monkeypatch):
    """Its place is that of its partition, as one more than the GPU has leases."""
    first = take_lease(("0",), 1, tmp_path, wait=False)
    monkeypatch.setattr(gpu_lease, "_held", [])
    monkeypatch.setattr(device, "gpus_visible", lambda: 1)
    monkeypatch.setattr(device, "_present_once", lambda: ())
    chosen = device.choose_device("auto", models_per_gpu=1, partition_index=3, leases=tmp_path)
    assert (chosen.gpu, chosen.lease) == (0, None)
    first.release()

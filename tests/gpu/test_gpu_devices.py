"""The real driver, beside what the package says of it without torch: which GPUs there are, and which one a slot gets."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sparktorch_assets import nvidia_gpus
from sparktorch_assets.errors import DeviceError
from sparktorch_assets.predict.model.device import choose_device
from sparktorch_assets.spark import session

DISCOVERY = Path(session.__path__[0]) / "gpu" / "discover-gpus.sh"


def torch_names():
    return [f"GPU-{torch.cuda.get_device_properties(gpu).uuid}" for gpu in range(torch.cuda.device_count())]


def in_process(program, **environment):
    """What a program prints in a process of its own, since torch counts GPUs once per process."""
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_driver_and_torch_name_the_same_gpus():
    present = nvidia_gpus.present_gpus()
    assert set(torch_names()) <= {gpu.name for gpu in present} | {name for gpu in present for name in gpu.instances}
    assert list(nvidia_gpus.unique_names(torch.cuda.device_count(), present)) == torch_names()
    assert nvidia_gpus.cuda_count() == torch.cuda.device_count()


def test_the_driver_is_asked_without_nvidia_smi_as_well(monkeypatch):
    """As in a container that has the devices but no programs of the driver."""
    if not Path("/proc/driver/nvidia/gpus").is_dir():
        pytest.skip("the kernel's module says nothing in /proc here")
    named = [gpu.name for gpu in nvidia_gpus.present_gpus()]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert [gpu.name for gpu in nvidia_gpus.present_gpus()] == named


def test_the_discovery_script_finds_them():
    done = subprocess.run(["sh", DISCOVERY], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["name"] == "gpu"
    assert len(found["addresses"]) == torch.cuda.device_count()


def test_a_slot_gets_a_gpu_by_its_address_or_by_a_lease(tmp_path):
    """By the number on the host, by the name, and without either by a lease, which has the GPU's name."""
    names = torch_names()
    for address in ("0", names[0], names[0][:12]):
        chosen = choose_device("auto", models_per_gpu=1, partition_index=0, addresses=[address])
        assert (str(chosen), chosen.lease) == ("cuda:0", None)
    leased = choose_device("auto", models_per_gpu=1, partition_index=5, leases=tmp_path)
    assert leased.lease.name == names[leased.gpu]
    leased.lease.release()
    with pytest.raises(DeviceError, match="Spark assigned GPU '9'"):
        choose_device("auto", models_per_gpu=1, partition_index=0, addresses=["9"])


COUNTS = """
import torch
from sparktorch_assets import nvidia_gpus
print(nvidia_gpus.cuda_count(), torch._C._cuda_getDeviceCount(), torch.cuda.device_count())
"""


@pytest.mark.parametrize(
    "visible",
    [
        "",
        "-1",
        "0",
        "0,0",
        "7",
        "0,7",
        "{name}",
        "{short}",
        "GPU-0000",
        "{name},0",
        "{name},{name}",
        "{name},{short}",
        "0,{name}",
        "0,GPU-0000",
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(visible):
    name = torch_names()[0]
    ours, cudas, _ = in_process(COUNTS, CUDA_VISIBLE_DEVICES=visible.format(name=name, short=name[:10])).split()
    assert ours == cudas


HIDDEN = """
from sparktorch_assets.errors import DeviceError
from sparktorch_assets.predict.model.device import choose_device
print(choose_device("auto", models_per_gpu=1, partition_index=0))
try:
    choose_device("cuda", models_per_gpu=1, partition_index=0)
except DeviceError as error:
    print(error)
"""


def test_hidden_gpus_are_missed_only_by_those_who_ask_for_one():
    auto, asked = in_process(HIDDEN, CUDA_VISIBLE_DEVICES="").splitlines()
    assert auto == "cpu"
    assert "torch sees none here" in asked


FORKED = """
import os, sys
import torch
import sparktorch_assets.predict.local, sparktorch_assets.predict.model.torch_model
from pathlib import Path
from sparktorch_assets.spark.worker_daemon import unsafe_to_fork
assert not torch.cuda.is_initialized()
print(repr(unsafe_to_fork()))
sys.stdout.flush()
for _ in range(2):
    child = os.fork()
    if not child:
        from sparktorch_assets.predict.model.device import choose_device
        chosen = choose_device("cuda", models_per_gpu=2, partition_index=0, leases=Path(sys.argv[1]))
        print(chosen, float(torch.ones(1000, device=str(chosen)).sum()), flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def test_workers_that_are_forked_after_the_imports_can_use_it(tmp_path):
    """Spark's daemon imports before it forks; CUDA must not have started by then."""
    done = subprocess.run(
        [sys.executable, "-c", FORKED, tmp_path],
        env=os.environ | {"OMP_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    unsafe, *children = done.stdout.splitlines()
    assert "/dev/nvidia" not in unsafe
    assert children == ["cuda:0 1000.0", "cuda:0 1000.0"]

"""Which GPUs there are, and which CUDA shows: from nvidia-smi or the driver's own files, without torch."""

import pytest

from sparktorch_assets import nvidia_gpus
from sparktorch_assets.nvidia_gpus import Gpu, cuda_count, present_gpus, unique_names, uuid_of, visible_gpus

LISTED = """GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aa000000-1111-2222-3333-444444444444)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bb000000-1111-2222-3333-444444444444)
GPU 2: NVIDIA H100 80GB HBM3 (UUID: GPU-cc000000-1111-2222-3333-444444444444)
"""
DIVIDED = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aa000000-1111-2222-3333-444444444444)
  MIG 3g.20gb     Device  0: (UUID: MIG-0a)
  MIG 3g.20gb     Device  1: (UUID: MIG-0b)
"""
FULL = "-1111-2222-3333-444444444444"


@pytest.fixture
def host(monkeypatch, tmp_path):
    """A host whose nvidia-smi prints a text, and the value of CUDA_VISIBLE_DEVICES there."""

    def make(listed, visible=None):
        (tmp_path / "listed").write_text(listed)
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\nIFS=\nwhile read -r line; do echo \"$line\"; done < '{tmp_path}/listed'\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return make


@pytest.mark.promise("O220")
@pytest.mark.parametrize(
    ("visible", "addresses"),
    [
        (None, ("0", "1", "2")),
        ("", ()),
        ("-1", ()),
        ("0", ("0",)),
        ("2, 0", ("2", "0")),
        ("0,9,1", ("0",)),
        ("GPU-bb,GPU-aa", ("GPU-bb", "GPU-aa")),
        ("GPU-bb" + "000000" + FULL, ("GPU-bb000000" + FULL,)),
        ("GPU-dd,0", ()),
        ("1,GPU-bb", ("1",)),  # a name after a number ends the list
        ("GPU-aa,GPU-aa0000", ()),  # one device, named twice
        ("NoDevFiles", ()),
    ],
)
def test_addresses_are_those_that_cuda_shows(host, visible, addresses):
    """CUDA_VISIBLE_DEVICES hides and renumbers devices, and ends at the first that is not there."""
    host(LISTED, visible)
    assert visible_gpus(present_gpus()) == addresses
    assert cuda_count() == len(addresses)


@pytest.mark.promise("O220")
def test_every_instance_of_a_divided_gpu_has_an_address(host):
    """CUDA shows one of them to a process."""
    host(DIVIDED)
    assert visible_gpus(present_gpus()) == ("MIG-0a", "MIG-0b")
    assert cuda_count() == 1
    host(DIVIDED, "MIG-0b")
    assert visible_gpus(present_gpus()) == ("MIG-0b",)
    host(DIVIDED, "MIG-0c")
    assert visible_gpus(present_gpus()) == ()


@pytest.mark.promise("O220")
def test_without_nvidia_smi_the_driver_is_asked(monkeypatch, tmp_path):
    """And without a driver, there are no GPUs; a tool that fails is no GPU either."""
    monkeypatch.setattr(nvidia_gpus, "_PROC_GPUS", tmp_path / "gpus")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert present_gpus() == ()
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert cuda_count() == 0
    for number, uuid in enumerate(("GPU-aa", "")):
        folder = tmp_path / "gpus" / f"0000:0{number}:00.0"
        folder.mkdir(parents=True)
        if uuid:
            (folder / "information").write_text(f"Model: \t\t NVIDIA H100\nGPU UUID: \t {uuid}\nDevice Minor: \t 0\n")
    assert present_gpus() == (Gpu("GPU-aa"), Gpu(""))
    assert visible_gpus(present_gpus()) == ("0", "1")


def test_a_gpu_has_one_name_whatever_a_process_sees(host):
    """So that leases of processes with different CUDA_VISIBLE_DEVICES are of the same GPU."""
    host(LISTED)
    everywhere = unique_names(3, present_gpus())
    host(LISTED, "2,1")
    assert unique_names(2, present_gpus()) == (everywhere[2], everywhere[1])
    host(LISTED, "GPU-cc")
    assert unique_names(1, present_gpus()) == (everywhere[2],)
    assert unique_names(2, present_gpus()) == ("0", "1")  # torch sees something else: better any name than none


def test_numbers_and_beginnings_name_a_gpu():
    present = (Gpu("GPU-aa1"), Gpu("GPU-aa2"), Gpu("GPU-b", ("MIG-x",)))
    assert [uuid_of(address, present) for address in ("0", "GPU-aa2", "GPU-aa", "MIG-x", "3", "")] == [
        "GPU-aa1", "GPU-aa2", "", "MIG-x", "", "",
    ]  # fmt: skip

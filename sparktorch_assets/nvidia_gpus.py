"""Which NVIDIA GPUs this host has, and which of them CUDA shows to this process. Neither torch nor CUDA is needed, and a
host without a driver has no GPUs.

The names are those that `nvidia-smi -L` prints: `GPU-...` for a GPU, `MIG-...` for an instance of a divided GPU.
"""

import contextlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_S = 20
_PROC_GPUS = Path("/proc/driver/nvidia/gpus")
_GPU_LINE = re.compile(r"^GPU (\d+):.*?(?:UUID: (GPU-[\w-]+))?\)?$")
_MIG_LINE = re.compile(r"^\s+MIG .*UUID: (MIG-[\w/-]+)")


@dataclass(frozen=True)
class Gpu:
    """A GPU of this host. GPUs are numbered as `nvidia-smi` does it, which is CUDA's numbering too where all GPUs are of
    one model, or where `CUDA_DEVICE_ORDER=PCI_BUS_ID`."""

    name: str
    """Its UUID, `GPU-...`; empty if the driver does not say it."""
    instances: tuple[str, ...] = ()
    """The UUIDs of its MIG instances, `MIG-...`."""


def present_gpus() -> tuple[Gpu, ...]:
    """The GPUs of this host, whatever CUDA_VISIBLE_DEVICES says."""
    tool = shutil.which("nvidia-smi")
    if tool:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run([tool, "-L"], capture_output=True, text=True, check=True, timeout=_TIMEOUT_S)
            return _listed(done.stdout)
    return tuple(Gpu(name) for name in _named_by_the_driver())


def visible_gpus(present: tuple[Gpu, ...]) -> tuple[str, ...]:
    """The addresses of the GPUs that CUDA shows to processes with this process's environment, in the order of their CUDA
    indexes: a GPU's number on the host, or the name that CUDA_VISIBLE_DEVICES gives it.

    Without that variable, every MIG instance has an address, although CUDA shows only one of them to a process. A process
    that computes on one has to set the variable to its name.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return _as_cuda_reads(visible, present)
    instances = tuple(name for gpu in present for name in gpu.instances)
    return instances or tuple(str(number) for number in range(len(present)))


def cuda_count() -> int:
    """The number of GPUs that CUDA shows to this process: of MIG instances, only one."""
    visible = visible_gpus(present_gpus())
    return min(1, len(visible)) if any(name.startswith("MIG-") for name in visible) else len(visible)


def unique_names(gpus: int, present: tuple[Gpu, ...]) -> tuple[str, ...]:
    """For each of this process's `gpus` CUDA indexes, a name that no other GPU of the host has, and that is the same in
    processes to which CUDA shows other GPUs."""
    visible = visible_gpus(present)
    if len(visible) != gpus and not any(name.startswith("MIG-") for name in visible):
        return tuple(str(index) for index in range(gpus))
    return tuple(uuid_of(name, present) or name for name in visible[:gpus])


def uuid_of(address: str, present: tuple[Gpu, ...]) -> str:
    """The UUID of the GPU with this number or (abbreviated) name; empty if it is not known."""
    if address.isdecimal():
        return present[int(address)].name if int(address) < len(present) else ""
    names = [name for gpu in present for name in (gpu.name, *gpu.instances) if name]
    found = [name for name in names if name.startswith(address)]
    return found[0] if len(found) == 1 else ""


def _as_cuda_reads(visible: str, present: tuple[Gpu, ...]) -> tuple[str, ...]:
    """CUDA stops at the first entry that names no device: a number out of range, -1, an unknown name, or nothing, and a
    number after a name or a name after a number. If a device is named twice, it shows none."""
    found: list[str] = []
    known = any(gpu.name for gpu in present)
    for entry in visible.split(","):
        name = entry.strip()
        if found and name.isdecimal() != found[0].isdecimal():
            break
        if name.isdecimal():
            if int(name) >= len(present):
                break
        elif not name.startswith(("GPU-", "MIG-")) or not present or (known and not uuid_of(name, present)):
            break
        found.append(name)
    devices = [uuid_of(name, present) or name for name in found]
    return tuple(found) if len(set(devices)) == len(devices) else ()


def _listed(output: str) -> tuple[Gpu, ...]:
    found: list[tuple[str, list[str]]] = []
    for line in output.splitlines():
        gpu, instance = _GPU_LINE.match(line.rstrip()), _MIG_LINE.match(line)
        if gpu:
            found.append((gpu[2] or "", []))
        elif instance and found:
            found[-1][1].append(instance[1])
    return tuple(Gpu(name, tuple(instances)) for name, instances in found)


def _named_by_the_driver() -> list[str]:
    """The UUIDs of the GPUs, from the files of the kernel's module: also in a container without nvidia-smi."""
    if not _PROC_GPUS.is_dir():
        return []
    names = []
    for folder in sorted(_PROC_GPUS.iterdir()):  # named after the PCI address, by which nvidia-smi numbers GPUs
        with contextlib.suppress(OSError):
            named = re.search(r"^GPU UUID:\s*(GPU-[\w-]+)", (folder / "information").read_text(), re.MULTILINE)
            names.append(named[1] if named else "")
            continue
        names.append("")
    return names

"""Counts the slots (model instances at work) of a session, without importing torch and without running a job."""

import contextlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sparktorch_assets.spark.session.cluster_size import Certainty, cluster_size, is_connect, setting
from sparktorch_assets.spark.session.config import is_local
from sparktorch_assets.tasks.slot_policy import SlotPolicy

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["SlotCount", "count_local_gpus", "find_slots", "is_connect"]

_NVIDIA_SMI_TIMEOUT_S = 20
_PROC_GPUS = Path("/proc/driver/nvidia/gpus")
_SLOTS_OF_AN_UNKNOWN_CLUSTER = 100
"""With six packs per slot and 0.1 s per pack, a cluster that stays small loses a minute, summed over its slots."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotCount:
    """The number of model instances that work at once. Its text says what they were counted from."""

    slots: int
    on_a_worker: int
    """The number of slots that share one worker's cores: its CPU threads are divided by it."""
    certainty: Certainty
    """`at most`: there may be fewer executors. `so far`: more executors may register."""
    source: str

    @property
    def to_deal_for(self) -> int:
        """The number of slots to divide the work for: executors that register later must find some work, too."""
        return max(self.slots, _SLOTS_OF_AN_UNKNOWN_CLUSTER) if self.certainty == "so far" else self.slots

    @property
    def all_at_work(self) -> int | None:
        """The number of slots if all of them are known to be available, else `None`."""
        return self.slots if self.certainty == "exact" else None

    def __str__(self) -> str:
        certainty = "" if self.certainty == "exact" else f" {self.certainty}"
        return f"slots at work: {self.slots}{certainty}, {self.on_a_worker} on each worker, counted from {self.source}"


def find_slots(spark: "SparkSession", policy: SlotPolicy) -> SlotCount:
    """`models_per_gpu x GPUs x workers`, or the number of tasks that can run at once if there are no GPUs or the policy
    excludes them.

    What the policy sets takes precedence. In local mode, the GPUs are this host's; on a cluster, they are those that
    Spark schedules (`spark.executor.resource.gpu.amount`). Set `SlotPolicy.gpus_per_worker` if workers have GPUs that
    Spark does not know about.
    """
    size = cluster_size(spark)
    workers, certainty, source = size.executors, size.certainty, size.source
    slots = size.tasks
    if policy.workers is not None:
        if not is_local(setting(spark, "spark.master", "local")):  # local mode has one worker, whatever the policy says
            slots = policy.workers * max(1, size.tasks // workers)
        workers, certainty, source = policy.workers, "exact", f"SlotPolicy.workers={policy.workers} and {source}"
    gpus = 0 if policy.device == "cpu" else _gpus_per_worker(spark, policy)
    if policy.slots is not None:
        slots, certainty, source = policy.slots, "exact", f"SlotPolicy.slots={policy.slots}"
    elif gpus > 0:
        slots = policy.models_per_gpu * gpus * workers
        source = f"{policy.models_per_gpu} models on each of {gpus} GPUs per worker, and {source}"
    return SlotCount(slots=slots, on_a_worker=max(1, -(-slots // workers)), certainty=certainty, source=source)


def count_local_gpus() -> int:
    """The number of this host's NVIDIA GPUs that CUDA_VISIBLE_DEVICES leaves visible; 0 without a driver."""
    present = _present_gpus()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return present
    count = 0
    for entry in visible.split(","):
        # CUDA stops at the first entry that names no device: a number out of range, -1, or nothing.
        name = entry.strip()
        if not name or (name.lstrip("-").isdigit() and not 0 <= int(name) < present):
            break
        if not name.isdigit() and not name.startswith(("GPU-", "MIG-")):
            break
        count += 1
    return min(count, present) if "MIG-" not in visible else count * bool(present)


def _present_gpus() -> int:
    tool = shutil.which("nvidia-smi")
    if tool:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                [tool, "-L"], capture_output=True, text=True, check=True, timeout=_NVIDIA_SMI_TIMEOUT_S
            )
            return len(re.findall(r"^GPU \d+:", done.stdout, re.MULTILINE))
    return len(list(_PROC_GPUS.iterdir())) if _PROC_GPUS.is_dir() else 0


def _gpus_per_worker(spark: "SparkSession", policy: SlotPolicy) -> int:
    if policy.gpus_per_worker is not None:
        return policy.gpus_per_worker
    if is_local(setting(spark, "spark.master", "local")):
        return count_local_gpus()
    return int(float(setting(spark, "spark.executor.resource.gpu.amount", "0")))

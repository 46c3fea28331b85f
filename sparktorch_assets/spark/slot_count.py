"""How many slots (model instances at work) a session has, asked without importing torch and without running a job."""

import contextlib
import io
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparktorch_assets.spark.session_config import is_local
from sparktorch_assets.tasks.slot_policy import SlotPolicy

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_NVIDIA_SMI_TIMEOUT_S = 20
_PROC_GPUS = Path("/proc/driver/nvidia/gpus")


def count_slots(spark: "SparkSession", policy: SlotPolicy) -> int:
    """`models_per_gpu x GPUs x workers`, or the cores where there are no GPUs or the policy wants none.

    What the policy names wins. In local mode the GPUs are this host's; on a cluster they are those that Spark schedules
    (`spark.executor.resource.gpu.amount`): set `SlotPolicy.gpus_per_worker` where workers have GPUs that Spark does not
    know of.
    """
    if policy.slots is not None:
        return policy.slots
    if policy.device != "cpu":
        gpus = _gpus_per_worker(spark, policy)
        if gpus > 0:
            return policy.models_per_gpu * gpus * _workers(spark, policy)
    return count_cores(spark)


def slots_on_a_worker(spark: "SparkSession", policy: SlotPolicy) -> int:
    """The slots that share one worker's cores: what its CPU threads are divided by."""
    return max(1, -(-count_slots(spark, policy) // _workers(spark, policy)))


def count_cores(spark: "SparkSession") -> int:
    """The tasks that can run at once. No job runs: a Connect server tells it in the plan of a range."""
    if is_connect(spark):
        # RuntimeConfig has no defaultParallelism, but a range is split into that many partitions.
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            spark.range(1).explain()
        splits = re.search(r"splits=(?:Some\()?(\d+)", shown.getvalue())
        return max(1, int(splits[1])) if splits else 1
    return max(1, int(spark.sparkContext.defaultParallelism))


def count_local_gpus() -> int:
    """This host's NVIDIA GPUs that CUDA_VISIBLE_DEVICES leaves visible; 0 where there is no driver."""
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


def is_connect(spark: "SparkSession") -> bool:
    """Whether `spark` speaks to a Spark Connect server (and so has no SparkContext)."""
    return type(spark).__module__.startswith("pyspark.sql.connect")


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
    if is_local(_conf(spark, "spark.master", "local")):
        return count_local_gpus()
    return int(float(_conf(spark, "spark.executor.resource.gpu.amount", "0")))


def _workers(spark: "SparkSession", policy: SlotPolicy) -> int:
    if policy.workers is not None:
        return policy.workers
    master = _conf(spark, "spark.master", "local")
    if is_local(master):
        return 1
    cluster = re.match(r"local-cluster\[\s*(\d+)", master)
    instances = cluster[1] if cluster else _conf(spark, "spark.executor.instances", "")
    if instances:
        return max(1, int(instances))
    if not is_connect(spark):
        # A standalone master starts as many executors as there is room for, one after the other; the driver counts as one.
        scala_context: Any = spark.sparkContext._jsc.sc()  # noqa: SLF001  (pyspark has no public way to ask)
        return max(1, int(scala_context.getExecutorMemoryStatus().size()) - 1)
    per_executor = _conf(spark, "spark.executor.cores", "")
    return max(1, count_cores(spark) // int(per_executor)) if per_executor else 1


def _conf(spark: "SparkSession", key: str, default: str) -> str:
    return str(spark.conf.get(key, default))

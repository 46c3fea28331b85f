"""Counts the slots (model instances at work) of a session, without importing torch and without running a job."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparktorch_assets.nvidia_gpus import cuda_count
from sparktorch_assets.spark.session.cluster_size import (
    Certainty,
    ClusterSize,
    cluster_size,
    executor_cores,
    is_connect,
    setting,
)
from sparktorch_assets.spark.session.config import is_local
from sparktorch_assets.spark.session.gpu.worker_share import WorkerShare, takes_profiles
from sparktorch_assets.tasks.slot_policy import SlotPolicy

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["SlotCount", "find_slots", "is_connect"]

_LOG = logging.getLogger(__name__)
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
    share: WorkerShare | None = None
    """What a slot takes of a worker, if the tasks of a job have to ask Spark for it."""
    crowded: bool = False
    """Whether Spark would run more tasks at once than there are slots, and cannot be told otherwise. A job should have no
    more tasks than slots then."""

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
    """`models_per_gpu x GPUs x workers`, or the number of tasks that can run at once if that is smaller, or if there are
    no GPUs or the policy excludes them.

    What the policy sets takes precedence. In local mode, the GPUs are this host's; on a cluster, they are those that
    Spark schedules (`spark.executor.resource.gpu.amount`). Set `SlotPolicy.gpus_per_worker` if workers have GPUs that
    Spark does not know about. If the session itself sets `spark.task.resource.gpu.amount`, that decides how many models a
    GPU has.
    """
    size = cluster_size(spark)
    workers, certainty, source = size.executors, size.certainty, size.source
    slots, tasks_on_a_worker = size.tasks, max(1, size.tasks // workers)
    local = is_local(setting(spark, "spark.master", "local"))
    if policy.workers is not None:
        if not local:  # local mode has one worker, whatever the policy says
            slots = policy.workers * tasks_on_a_worker
        workers, certainty, source = policy.workers, "exact", f"SlotPolicy.workers={policy.workers} and {source}"
    gpus = 0 if policy.device == "cpu" else _gpus_per_worker(spark, policy)
    models = policy.models_per_gpu if local or not gpus else _models_per_gpu(spark, policy)
    if policy.slots is not None:
        slots, certainty, source = policy.slots, "exact", f"SlotPolicy.slots={policy.slots}"
    elif gpus > 0:
        each = _slots_with_gpus(models, gpus, tasks_on_a_worker if local else _tasks_on_a_worker(spark, size), size)
        slots, source = each * workers, f"{models:g} models on each of {gpus} GPUs per worker, and {source}"
    on_a_worker = max(1, -(-slots // workers))
    return SlotCount(
        slots=slots,
        on_a_worker=on_a_worker,
        certainty=certainty,
        source=source,
        share=None if local or not gpus else _share(spark, on_a_worker),
        crowded=local and gpus > 0 and slots < size.tasks,
    )


def _gpus_per_worker(spark: "SparkSession", policy: SlotPolicy) -> int:
    if policy.gpus_per_worker is not None:
        return policy.gpus_per_worker
    if is_local(setting(spark, "spark.master", "local")):
        return cuda_count()
    return _scheduled_gpus(spark)


def _scheduled_gpus(spark: "SparkSession") -> int:
    return int(float(setting(spark, "spark.executor.resource.gpu.amount", "0")))


def _models_per_gpu(spark: "SparkSession", policy: SlotPolicy) -> float:
    """The number of tasks that Spark runs on one GPU: below 1 if a task gets several."""
    amount = float(setting(spark, "spark.task.resource.gpu.amount", "0"))
    return policy.models_per_gpu if amount <= 0 else 1 / amount if amount > 1 else int(1 / amount + 1e-6)


def _tasks_on_a_worker(spark: "SparkSession", size: ClusterSize) -> int | None:
    """The number of tasks for which a worker has cores; `None` if that is not known yet."""
    cores = executor_cores(spark)
    if cores is not None:
        return max(1, cores // int(setting(spark, "spark.task.cpus", "1")))
    return None if size.certainty == "so far" else max(1, size.tasks // size.executors)


def _slots_with_gpus(models: float, gpus: int, tasks: int | None, size: ClusterSize) -> int:
    """The number of a worker's slots, each of which needs the cores of a task."""
    wanted = max(1, int(models * gpus))
    if tasks is None:
        return wanted
    if tasks < wanted:
        _LOG.warning(
            "a worker runs %d tasks at once (%s), fewer than the %g models on each of its %d GPUs that are asked for%s. "
            "Give a worker cores for %d tasks",
            tasks, size.source, models, gpus, ": some GPUs stay idle" if tasks < gpus else "", wanted,
        )  # fmt: skip
    return min(wanted, tasks)


def _share(spark: "SparkSession", on_a_worker: int) -> WorkerShare | None:
    """What a slot takes of a worker; `None` if the session says it itself, or cannot be told."""
    # On Spark Connect, the amounts are the server's business: see docs/clusters.md.
    if is_connect(spark) or float(setting(spark, "spark.task.resource.gpu.amount", "0")) > 0:
        return None
    master = setting(spark, "spark.master", "")
    if not takes_profiles(master):
        _LOG.warning(
            "spark.master=%s has no resource profiles for jobs, so Spark may run more tasks on a GPU than there are "
            "slots: set spark.task.resource.gpu.amount, or spark.task.cpus, for the session",
            master,
        )
        return None
    return WorkerShare(slots=on_a_worker, gpus=_scheduled_gpus(spark), cores=executor_cores(spark))

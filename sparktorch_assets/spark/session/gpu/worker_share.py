"""How much of a worker a slot needs, and how Spark is told: by a resource profile of the job's stage. One session can so
run jobs on all cores, and others with a few models per GPU.

A profile of task amounts alone needs no other executors than those that the session has, unless Spark allocates them
dynamically. Local mode and other cluster managers than those below know no such profiles.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparktorch_assets.spark.session.config import is_local

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_WITH_PROFILES = ("spark:", "local-cluster", "yarn", "k8s:")
_PARTS_OF_A_GPU = 1_000_000
"""Amounts are rounded down to a millionth: with 0.333333, Spark runs three tasks per GPU, and with 0.333334 two."""
_profiles: dict[tuple[str, int, float], Any] = {}
"""Profiles by application and amounts. With a new one, dynamic allocation would start new executors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerShare:
    """The slots of a worker that has GPUs, and what they divide among them."""

    slots: int
    gpus: int
    """GPUs of the worker that Spark schedules; 0 if it does not know of them."""
    cores: int | None
    """Cores of the worker; `None` if workers may differ."""

    def amounts(self, tasks: int | None = None) -> tuple[int | None, float]:
        """What a task takes: a number of cores (`None` for the session's own number), and a share of a GPU or 0.

        Spark fills the first GPU of a worker before it gives a task the next one. With fewer tasks than slots, they take
        larger shares, so that every GPU has some.

        Args:
            tasks: the number of tasks for each worker; `None` for many.
        """
        at_once = self.slots if tasks is None else max(1, min(self.slots, tasks))
        cores = max(1, self.cores // self.slots) if self.cores else None
        if not self.gpus:
            return cores, 0.0
        on_a_gpu = -(-at_once // self.gpus)
        return cores, math.floor(_PARTS_OF_A_GPU / on_a_gpu) / _PARTS_OF_A_GPU


def takes_profiles(master: str) -> bool:
    """Whether the cluster manager knows resource profiles."""
    return not is_local(master) and master.startswith(_WITH_PROFILES)


def share_profile(spark: "SparkSession", share: WorkerShare | None, tasks: int | None = None) -> Any:
    """The `profile` argument of `mapInArrow`, with which each task gets its share of a worker; `None` if no tasks need
    one.

    Args:
        spark: a classic session.
        share: the slots of a worker; `None` if the session's own amounts are right.
        tasks: the number of tasks for each worker, if it is known.
    """
    if share is None:
        return None
    cores, gpu = share.amounts(tasks)
    if cores is None and not gpu:
        return None
    from pyspark.resource import ResourceProfileBuilder, TaskResourceRequests

    cores = cores or int(str(spark.conf.get("spark.task.cpus", "1")))
    key = (str(spark.conf.get("spark.app.id", "")), cores, gpu)
    if key not in _profiles:
        requests = TaskResourceRequests().cpus(cores)
        if gpu:
            requests = requests.resource("gpu", gpu)
        _profiles[key] = ResourceProfileBuilder().require(requests).build
    return _profiles[key]

"""Counts the Spark tasks that can run at once, and their executors: from the configuration if it says so, else from the
executors that have registered. No job runs.

`spark.sparkContext.defaultParallelism` is not used: it returns `spark.default.parallelism` if that is set, and just
after the start it counts only the executors that have registered by then.
"""

import contextlib
import io
import logging
import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from sparktorch_assets.spark.session.config import is_local

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LOG = logging.getLogger(__name__)
Certainty = Literal["exact", "at most", "so far"]

_LOCAL_CLUSTER = re.compile(r"local-cluster\[\s*(\d+)\s*,\s*(\d+)\s*,\s*\d+\s*\]$")
_NO_MAXIMUM = 2**31 - 1
"""Spark's default for `spark.dynamicAllocation.maxExecutors`."""
_LOOK_S = 0.1
_STABLE_S = 2.0
"""Executors of one cluster register within about a second of each other."""
_WAIT_S = 30.0
"""Spark's own default for spark.scheduler.maxRegisteredResourcesWaitingTime."""
_TIME = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "": 0.001}
_waited: set[str] = set()
"""The applications whose executors have been waited for: once is enough."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterSize:
    """The number of tasks and executors of a Spark cluster."""

    executors: int
    tasks: int
    """Number of tasks that can run at once, on all executors together."""
    certainty: Certainty
    """`at most`: there may be fewer executors. `so far`: more executors may register."""
    source: str
    """What the numbers were taken from, for the log."""


def cluster_size(spark: "SparkSession") -> ClusterSize:
    """The size of the session's cluster; in local mode, that of its only JVM. It waits for executors only if the
    configuration does not determine the size, and at most until `spark.scheduler.maxRegisteredResourcesWaitingTime`
    after the application's start."""
    master = setting(spark, "spark.master", "local")
    if is_local(master):
        return _local(spark, master)
    dynamic = setting(spark, "spark.dynamicAllocation.enabled", "false").lower() == "true"
    local_cluster = _LOCAL_CLUSTER.match(master)
    if local_cluster:
        workers, cores = int(local_cluster[1]), int(local_cluster[2])
        per_executor = min(cores, int(setting(spark, "spark.executor.cores", "") or cores))
        certainty: Certainty = "at most" if dynamic else "exact"
        return _of(spark, workers * (cores // per_executor), per_executor, certainty, f"spark.master={master}")
    if dynamic:
        return _dynamic(spark, master)
    if _is_standalone(master):  # a standalone cluster ignores spark.executor.instances
        return _standalone(spark, more_may_come=False)
    managed = master.startswith(("yarn", "k8s:"))
    instances = setting(spark, "spark.executor.instances", "2" if managed else "")
    cores_each = _cores_each(spark, master)
    if instances and cores_each:
        source = f"spark.executor.instances={instances} and spark.executor.cores={cores_each}"
        return _of(spark, int(instances), cores_each, "exact", source)
    return _registered(spark, more_may_come=False)


def is_connect(spark: "SparkSession") -> bool:
    """Whether `spark` is a Spark Connect session, which has no SparkContext."""
    return type(spark).__module__.startswith("pyspark.sql.connect")


def setting(spark: "SparkSession", key: str, default: str) -> str:
    """A setting of the session or of its application; works with Spark Connect as well."""
    return str(spark.conf.get(key, default))


def executor_cores(spark: "SparkSession") -> int | None:
    """The number of cores of each executor; `None` if it is not set, and executors may differ."""
    master = setting(spark, "spark.master", "local")
    local_cluster = _LOCAL_CLUSTER.match(master)
    given = int(setting(spark, "spark.executor.cores", "0"))
    if local_cluster:
        return min(int(local_cluster[2]), given or int(local_cluster[2]))
    return given or _cores_each(spark, master) or None


def _local(spark: "SparkSession", master: str) -> ClusterSize:
    threads = re.match(r"local\[\s*(\d+)", master)
    if threads or master == "local":
        return _of(spark, 1, int(threads[1]) if threads else 1, "exact", f"spark.master={master}")
    if is_connect(spark):
        return _planned(spark)
    return ClusterSize(
        executors=1, tasks=_tasks_at_once(spark), certainty="exact", source=f"spark.master={master}, this host's cores"
    )


def _dynamic(spark: "SparkSession", master: str) -> ClusterSize:
    key = "spark.dynamicAllocation.maxExecutors"
    maximum, cores_each = int(setting(spark, key, str(_NO_MAXIMUM))), _cores_each(spark, master)
    if maximum < _NO_MAXIMUM and cores_each:
        return _of(spark, maximum, cores_each, "at most", f"{key}={maximum} and spark.executor.cores={cores_each}")
    return _standalone(spark, more_may_come=True) if _is_standalone(master) else _registered(spark, more_may_come=True)


def _standalone(spark: "SparkSession", *, more_may_come: bool) -> ClusterSize:
    maximum, cores_each = setting(spark, "spark.cores.max", ""), _cores_each(spark, "spark://")
    if not maximum:
        return _registered(spark, more_may_come=more_may_come)
    if cores_each:
        source = f"spark.cores.max={maximum} and spark.executor.cores={cores_each}"
        return _of(spark, int(maximum) // cores_each, cores_each, "at most", source)
    there = _registered(spark, more_may_come=more_may_come).executors
    return replace(_of(spark, 1, int(maximum), "at most", f"spark.cores.max={maximum}"), executors=there)


def _registered(spark: "SparkSession", *, more_may_come: bool) -> ClusterSize:
    if is_connect(spark):
        return _planned(spark)
    if not more_may_come:
        _wait_for_executors(spark)
    tasks = _tasks_at_once(spark)
    return ClusterSize(
        executors=_executors_there(spark),
        tasks=max(1, tasks),
        certainty="exact" if tasks and not more_may_come else "so far",
        source="the executors that have registered",
    )


def _planned(spark: "SparkSession") -> ClusterSize:
    """The last resort for Spark Connect, which has no `defaultParallelism`: a range is planned with that many
    partitions."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        spark.range(1).explain()
    splits = re.search(r"splits=(?:Some\()?(\d+)", shown.getvalue())
    tasks = int(splits[1]) if splits else 1
    cores_each = setting(spark, "spark.executor.cores", "")
    return ClusterSize(
        executors=max(1, tasks // int(cores_each)) if cores_each else 1,
        tasks=max(1, tasks),
        certainty="so far",
        source="the default parallelism of the Connect server",
    )


def _of(spark: "SparkSession", executors: int, cores_each: int, certainty: Certainty, source: str) -> ClusterSize:
    cores_a_task = max(1, int(setting(spark, "spark.task.cpus", "1")))
    if cores_a_task > 1:
        source += f" and spark.task.cpus={cores_a_task}"
    executors = max(1, executors)
    tasks = max(1, executors * (cores_each // cores_a_task))
    return ClusterSize(executors=executors, tasks=tasks, certainty=certainty, source=source)


def _cores_each(spark: "SparkSession", master: str) -> int:
    """The number of cores of one executor; 0 if it gets all cores of its host."""
    everything = _is_standalone(master)
    return int(setting(spark, "spark.executor.cores", "0" if everything else "1"))


def _is_standalone(master: str) -> bool:
    return master.startswith("spark:")


def _wait_for_executors(spark: "SparkSession") -> None:
    context = spark.sparkContext
    if context.applicationId in _waited:
        return
    patience = setting(spark, "spark.scheduler.maxRegisteredResourcesWaitingTime", f"{_WAIT_S:g}s")
    until = context.startTime / 1000 + _seconds(patience)
    there, since = _there(spark), time.monotonic()
    while time.time() < until and (not there[0] or time.monotonic() - since < _STABLE_S):
        time.sleep(_LOOK_S)
        now = _there(spark)
        if now != there:
            there, since = now, time.monotonic()
    if there[0]:
        _waited.add(context.applicationId)
        return
    _LOG.warning(
        "no executor has registered yet, and no task can run until one does. Does the cluster have a worker with %s free, "
        "which is what spark.executor.memory asks for, and can its hosts reach this one (spark.driver.host=%s)?",
        setting(spark, "spark.executor.memory", "1g"),
        setting(spark, "spark.driver.host", "not set"),
    )


def _there(spark: "SparkSession") -> tuple[int, int]:
    """The number of tasks that could run at once, and of executors; the two may change at slightly different
    moments."""
    return _tasks_at_once(spark), _executors_there(spark)


def _seconds(text: str) -> float:
    """The seconds of a time span as Spark writes it: `30s`, `500ms`, `2min`; without a unit, milliseconds."""
    found = re.fullmatch(r"\s*(\d+)\s*([a-z]*)\s*", text.lower())
    return int(found[1]) * _TIME[found[2]] if found and found[2] in _TIME else _WAIT_S


def _tasks_at_once(spark: "SparkSession") -> int:
    """The number of tasks that the scheduler could start now if nothing ran, taking `spark.task.cpus` and GPUs into
    account."""
    context = _scala_context(spark)
    return int(context.maxNumConcurrentTasks(context.resourceProfileManager().defaultResourceProfile()))


def _executors_there(spark: "SparkSession") -> int:
    return max(1, int(_scala_context(spark).getExecutorMemoryStatus().size()) - 1)  # the driver counts as one


def _scala_context(spark: "SparkSession") -> Any:
    return spark.sparkContext._jsc.sc()  # noqa: SLF001  (pyspark has no public way to ask)

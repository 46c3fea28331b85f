"""Spark settings: the defaults of this library, and those that it refuses because Spark would hang with them.

These are pure functions over strings: no Spark is imported, and nothing is started.
"""

import logging
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from sparktorch_assets.errors import HostError
from sparktorch_assets.masking import without_secrets
from sparktorch_assets.private_folder import temporary_folder

_LOG = logging.getLogger(__name__)
_LOCAL = re.compile(r"local(\[.*\])?$")
_GPU_AMOUNT = re.compile(r"spark\.(driver|executor|task|worker)\.resource\.gpu\.amount$")
_LOOPBACK = "127.0.0.1"


def is_local(master: str | None) -> bool:
    """Whether `master` runs everything in this process's JVM (`local`, `local[4]`; not `local-cluster[...]`)."""
    return master is not None and _LOCAL.match(master) is not None


def runs_on_this_host(master: str) -> bool:
    """Whether all of the master's processes run on this host: also for `local-cluster[...]`, unlike `is_local`."""
    return is_local(master) or master.startswith("local-cluster")


def default_config(master: str | None = "local[*]") -> dict[str, str]:
    """The settings that a session gets unless its own configuration overrides them.

    Rows are transferred as Arrow, timestamps are in UTC, there is no UI, logs show errors only, and nothing is written
    to the current folder. A local session listens on the loopback address only.

    Args:
        master: the Spark master; `None` for a remote Connect server, which accepts only session settings.
    """
    session = {
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.session.timeZone": "UTC",
    }
    if master is None:
        return session
    shared = {
        **session,
        "spark.pyspark.python": sys.executable,
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.warehouse.dir": (temporary_folder() / "warehouse").as_uri(),
        "spark.driver.extraJavaOptions": _java_options(local=is_local(master)),
    }
    if runs_on_this_host(master):
        shared |= {
            "spark.driver.host": _LOOPBACK,
            "spark.driver.bindAddress": _LOOPBACK,
            # Spark Connect's local server would listen on every interface.
            "spark.connect.grpc.binding.address": _LOOPBACK,
            "spark.driver.memory": "2g",
        }
    return shared


def java_log_options() -> str:
    """The JVM flag that makes Spark log errors only."""
    return f'"-Dlog4j2.configurationFile={(Path(__file__).parent / "log4j2-quiet.properties").as_uri()}"'


def _java_options(*, local: bool) -> str:
    # Runs here are short: on 2 busy cores, three runs over the flights sample, starting and reading its 12 files took
    # 6-10 s + 9-23 s with these flags, 11-18 s + 24-39 s without.
    return f"{java_log_options()} -XX:TieredStopAtLevel=1 -XX:+UseSerialGC" if local else java_log_options()


def check_session_config(master: str | None, config: Mapping[str, str]) -> None:
    """Refuse settings with which Spark would hang, or silently leave GPUs idle.

    Raises:
        HostError: GPU amounts are set in local mode (no task would ever start), or the task amount puts all tasks on
            some of an executor's GPUs.
    """
    amounts = {key: value for key, value in config.items() if _GPU_AMOUNT.match(key) and _number(key, value) > 0}
    if not amounts:
        return
    if is_local(master):
        listed = ", ".join(f"{key}={value}" for key, value in amounts.items())
        raise HostError(
            f"master={without_secrets(str(master))!r} with {listed}: Spark schedules no GPUs in local mode, "
            f"and would wait for them forever. Drop these settings: in local mode this library shares out the host's "
            f"GPUs itself (SlotPolicy). Or use a cluster manager, for instance master='spark://host:7077'"
        )
    _check_task_amount(config)


def _check_task_amount(config: Mapping[str, str]) -> None:
    # Spark fills the first GPU address with floor(1 / amount) tasks before it takes the next one.
    key = "spark.task.resource.gpu.amount"
    amount = _number(key, config.get(key, "0"))
    gpus = int(_number("spark.executor.resource.gpu.amount", config.get("spark.executor.resource.gpu.amount", "0")))
    if not 0 < amount <= 0.5 or gpus < 2:
        return
    tasks_per_gpu = int(1 / amount + 1e-6)
    cores = config.get("spark.executor.cores")
    if cores is None:
        if amount < 0.5:
            _LOG.warning(
                "%s=%g puts %d tasks on an executor's first GPU before it takes the next one; with fewer than %d cores "
                "per executor, some of its %d GPUs stay idle. Set spark.executor.cores, so that this can be checked",
                key, amount, tasks_per_gpu, tasks_per_gpu * gpus, gpus,
            )  # fmt: skip
        return
    tasks = int(cores) // int(config.get("spark.task.cpus", "1"))
    busy = -(-tasks // tasks_per_gpu)
    if busy < gpus:
        raise HostError(
            f"{key}={amount:g} packs {tasks_per_gpu} tasks on each GPU, and an executor with {cores} cores runs {tasks} "
            f"at once: {gpus - busy} of its {gpus} GPUs would stay idle. Set {key}={_spread(tasks, gpus)}, or raise "
            f"spark.executor.cores to {tasks_per_gpu * gpus}"
        )


def _spread(tasks: int, gpus: int) -> str:
    return f"{1 / max(1, tasks // gpus):.4g}"


def _number(key: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise HostError(f"{key}={value!r} is not a number") from None

"""Checks that Spark's workers run the same Python version (major.minor) as the driver, with pyarrow and torch.

The check is made as early as possible: before the JVM starts if the workers run on this host, else in the worker
itself.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from sparktorch_assets.errors import HostError
from sparktorch_assets.spark.session.worker_memory import load_torch

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

WORKER_MODULES = ("pyarrow", "torch")
_TIMEOUT_S = 60
_PROBE = (
    "import sys, importlib.util as u; print('%d.%d' % sys.version_info[:2], "
    "*[name for name in sys.argv[1:] if u.find_spec(name) is None])"
)


def driver_version() -> str:
    """This process's Python version in the form that Spark compares, `3.11`."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def check_local_python(executable: str, modules: Sequence[str] = WORKER_MODULES) -> None:
    """Check the Python that a local session's workers will run, before the session starts. It costs nothing if that is
    this process's Python.

    Raises:
        HostError: it does not run, has another version, or lacks a module.
    """
    if executable == sys.executable:
        return
    try:
        done = subprocess.run(
            [executable, "-c", _PROBE, *modules], capture_output=True, text=True, check=True, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise HostError(
            f"Spark's workers would run PYSPARK_PYTHON={executable!r}, which fails: {error}. {_way_out()}"
        ) from error
    version, *missing = done.stdout.split()
    _check(executable, version, missing, driver_version())


def check_session_python(spark: "SparkSession") -> None:
    """Check the Python that a session's workers run, if they run on this host. A session that the user started may use
    the `python3` on the PATH, which is Spark's default and often another one. It costs nothing if it is this process's
    Python.

    Raises:
        HostError: it has another version, or lacks a package.
    """
    context = getattr(spark, "_sc", None)  # None for Spark Connect, whose workers are the server's business
    if context is None or not str(context.master).startswith("local"):
        return
    executable = shutil.which(context.pythonExec) or context.pythonExec
    if Path(executable).parent != Path(sys.executable).parent:  # one environment may have several names for its Python
        _probe_once(executable)


@lru_cache(maxsize=8)
def _probe_once(executable: str) -> None:
    check_local_python(executable, (*WORKER_MODULES, "sparktorch_assets"))


def check_worker(driver: str, modules: Sequence[str] = WORKER_MODULES) -> None:
    """Check, inside a worker, that its Python fits the driver's, and that it has enough memory to load torch.

    Raises:
        HostError: it has another version, lacks a module, or has too little memory.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    _check(sys.executable, driver_version(), missing, driver)
    load_torch()


def _check(executable: str, version: str, missing: Sequence[str], driver: str) -> None:
    if version != driver:
        raise HostError(
            f"Spark's workers run Python {version} ({executable}), the driver runs Python {driver}; functions cannot "
            f"travel between the two. {_way_out()}"
        )
    if missing:
        raise HostError(
            f"the Python of Spark's workers ({executable}) has no {' and no '.join(missing)}: install the same packages "
            f"there as on the driver. {_way_out()}"
        )


def _way_out() -> str:
    return (
        f"Before the session starts, set PYSPARK_PYTHON (or spark.pyspark.python) to a Python {driver_version()} that has "
        f"this library's packages on every worker; on this host that is {sys.executable}. start_session() does so itself"
    )


def explain_worker_failure(error: BaseException) -> HostError | None:
    """A HostError if a Spark action failed because the workers' Python has another version or lacks packages; else
    `None`.

    Spark compares versions before it unpickles a function, so `check_worker` does not always see the problem first.
    """
    text = str(error)
    versions = re.search(r"PYTHON_VERSION_MISMATCH\].*?version: (\d+\.\d+).*?driver: (\d+\.\d+)", text, re.DOTALL)
    if versions:
        return HostError(
            f"Spark's workers run Python {versions[1]}, the driver runs Python {versions[2]}; functions cannot travel "
            f"between the two. {_way_out()}"
        )
    absent = re.search(r'Cannot run program "([^"]+)"', text)
    if absent:
        return HostError(f"Spark's workers cannot run {absent[1]!r}, which is not there on their hosts. {_way_out()}")
    module = re.search(r"No module named '(pyarrow|torch|sparktorch_assets|pandas)\b", text)
    if module:
        return HostError(
            f"the Python of Spark's workers has no {module[1]} (PYSPARK_PYTHON={os.environ.get('PYSPARK_PYTHON', 'not set')}): "
            f"install the same packages there as on the driver. {_way_out()}"
        )
    raised = re.search(r"sparktorch_assets\.errors\.HostError: (.*)", text)
    return HostError(raised[1]) if raised else None

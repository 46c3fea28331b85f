"""Has Spark fork its Python workers from a process that has imported torch and this package (`spark/worker_daemon.py`).

That process has to find this package, or no Python worker would start at all. So the setting is made only for sessions
whose workers run on this host, with a Python that has shown that it finds it.
"""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import sparktorch_assets
from sparktorch_assets.spark.session.startup.switches import WORKER_DAEMON, is_on
from sparktorch_assets.spark.session.worker_memory import MEMORY_SETTING

_MODULE = "sparktorch_assets.spark.worker_daemon"
_SETTING = "spark.python.daemon.module"
_TIMEOUT_S = 60
_PROBE = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"


def with_preloaded_workers(settings: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The settings with this package's daemon, unless the user has chosen another one, or it would not start.

    Args:
        settings: those of a session whose workers run on this host.
        given: those of them that are the user's.
    """
    # /proc tells whether a fork is safe, and other systems' libraries do not allow for one.
    if _SETTING in given or not is_on(WORKER_DAEMON) or not sys.platform.startswith("linux"):
        return dict(settings)
    if MEMORY_SETTING in settings:
        return dict(
            settings
        )  # a worker with too little memory would be up already, and fail wherever it next needs some
    python = os.environ.get("PYSPARK_PYTHON", sys.executable)
    if not (_is_installed(python) or _is_found_by(python)):
        return dict(settings)
    return {**settings, _SETTING: _MODULE}


def _is_installed(python: str) -> bool:
    """Whether this package is among the packages of this very Python, which is not started to find that out."""
    root = Path(sparktorch_assets.__path__[0]).parent
    return python == sys.executable and str(root) in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))


def _is_found_by(python: str) -> bool:
    try:
        done = subprocess.run(
            [python, "-c", _PROBE, _MODULE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0

"""The environment variables that switch off what makes sessions start sooner, one by one."""

import os

CLASS_ARCHIVE = "SPARKTORCH_CLASS_ARCHIVE"
"""Whether Spark's Java classes are loaded from an archive, which is made for the next session if it is missing."""
WORKER_DAEMON = "SPARKTORCH_WORKER_DAEMON"
"""Whether the daemon that starts Spark's Python workers imports torch and this package before it forks them."""
WARM_UP = "SPARKTORCH_WARM_UP"
"""Whether a new session runs a small job in the background."""


def is_on(variable: str) -> bool:
    """Whether the variable does not say `off` (or `0`, `no`, `false`)."""
    return os.environ.get(variable, "").strip().lower() not in ("off", "0", "no", "false")
